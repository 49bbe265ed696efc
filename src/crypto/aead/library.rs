//! The tier without `unsafe`: the `aes-gcm` crate, one message after another. Every other tier is compared with it.

use aes_gcm::AeadInOut;
use aes_gcm::Aes256Gcm;
use aes_gcm::KeyInit;
use aes_gcm::aead::inout::InOutBuf;
use zeroize::Zeroize;

use crate::crypto::aead::message::Aead;
use crate::crypto::aead::message::KEY_LEN;
use crate::crypto::aead::message::Message;
use crate::crypto::aead::message::TAG_LEN;
use crate::crypto::aead::message::Verdict;

/// AES-256-GCM by the `aes-gcm` crate, whose key schedule and hash key wipe themselves on drop.
pub struct Library {
    gcm: Aes256Gcm,
}

impl Library {
    /// Expands a key.
    #[must_use]
    pub fn new(bytes: &[u8; KEY_LEN]) -> Library {
        Library { gcm: Aes256Gcm::new(bytes.into()) }
    }

    fn seal(&self, message: &mut Message<'_>) {
        let text_len = message.text_inout.len().checked_sub(TAG_LEN).expect("the caller left space for the tag");
        let (text, tag) = message.text_inout.split_at_mut(text_len);
        let sealed = self.gcm.encrypt_inout_detached(&message.nonce.into(), message.aad, InOutBuf::from(text));
        tag.copy_from_slice(&sealed.expect("a text below 64 GiB"));
    }

    fn open(&self, message: &mut Message<'_>) -> Verdict {
        let opened = match message.text_inout.len().checked_sub(TAG_LEN) {
            None => false,
            Some(text_len) => {
                let (text, tag) = message.text_inout.split_at_mut(text_len);
                let tag: [u8; TAG_LEN] = (&*tag).try_into().expect("split 16 bytes before the end");
                let text = InOutBuf::from(text);
                self.gcm.decrypt_inout_detached(&message.nonce.into(), message.aad, text, &tag.into()).is_ok()
            }
        };
        if opened {
            Verdict::Authentic
        } else {
            message.text_inout.zeroize();
            Verdict::Unauthentic
        }
    }
}

impl Aead for Library {
    fn seal_batch(&self, messages: &mut [Message<'_>]) {
        for message in messages {
            self.seal(message);
        }
    }

    fn open_batch(&self, messages: &mut [Message<'_>], verdicts_inout: &mut [Verdict]) {
        assert_eq!(messages.len(), verdicts_inout.len(), "one verdict for each message");
        for (message, verdict) in messages.iter_mut().zip(verdicts_inout) {
            *verdict = self.open(message);
        }
    }

    fn tier(&self) -> &'static str {
        "library"
    }
}

debug_fields!(self: Library {});
