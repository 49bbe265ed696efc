//! Intel's ipsec-mb, where its shared library is installed (Debian: `libipsec-mb1`), found at run time.

use std::ffi::CStr;
use std::ffi::c_void;
use std::rc::Rc;

use sealkv::crypto::aead::Message;
use sealkv::crypto::aead::Tier;

use crate::arena::TAG_LEN;
use crate::peers::KEY;
use crate::peers::Peer;

/// More than any version's `struct gcm_key_data`.
const KEY_DATA_BYTES: usize = 16 << 10;
/// Packets of one QUIC call.
const BATCH: usize = 64;

type Expand = unsafe extern "C" fn(*const c_void, *mut c_void);
type Crypt = unsafe extern "C" fn(
    key_data: *const c_void,
    context: *mut c_void,
    target: *mut u8,
    source: *const u8,
    len: u64,
    iv: *const u8,
    aad: *const u8,
    aad_len: u64,
    tag: *mut u8,
    tag_len: u64,
);
type Quic = unsafe extern "C" fn(
    state: *mut c_void,
    key_data: *const c_void,
    key_bytes: u32,
    direction: u32,
    targets: *const *mut u8,
    sources: *const *const u8,
    lens: *const u64,
    ivs: *const *const u8,
    aads: *const *const u8,
    aad_len: u64,
    tags: *const *mut u8,
    tag_len: u64,
    packets: u64,
);

/// The library, with a key expanded by its kernels for this CPU.
pub struct Ipsec {
    seal: Crypt,
    open: Crypt,
    quic: Option<(Quic, *mut c_void)>,
    key_data: Box<Aligned>,
    version: String,
}

#[repr(C, align(64))]
struct Aligned([u8; KEY_DATA_BYTES]);

impl Ipsec {
    /// The library if it is installed and has kernels for this CPU.
    pub fn load() -> Option<Self> {
        // SAFETY: a library of the system; its constructors do nothing that matters here.
        let library = unsafe { libc::dlopen(c"libIPSec_MB.so.1".as_ptr(), libc::RTLD_NOW) };
        if library.is_null() {
            return None;
        }
        let kernels = if Tier::Vaes512.key(&KEY).is_some() {
            [c"aes_gcm_pre_256_vaes_avx512", c"aes_gcm_enc_256_vaes_avx512", c"aes_gcm_dec_256_vaes_avx512"]
        } else {
            [c"aes_gcm_pre_256_avx_gen4", c"aes_gcm_enc_256_avx_gen4", c"aes_gcm_dec_256_avx_gen4"]
        };
        let [expand, seal, open] = kernels.map(|name| symbol(library, name));
        // SAFETY: the types are those of the library's header.
        let (expand, seal, open) = unsafe {
            (
                std::mem::transmute::<*mut c_void, Expand>(expand?),
                std::mem::transmute::<*mut c_void, Crypt>(seal?),
                std::mem::transmute::<*mut c_void, Crypt>(open?),
            )
        };
        let mut key_data = Box::new(Aligned([0; KEY_DATA_BYTES]));
        // SAFETY: 32 bytes of key, and more space than any version needs.
        unsafe { expand(KEY.as_ptr().cast(), key_data.0.as_mut_ptr().cast()) };
        let version = version(library).unwrap_or_else(|| "unknown".to_owned());
        Some(Self { seal, open, quic: quic(library), key_data, version })
    }

    /// One call for each message.
    pub fn single(ipsec: &Rc<Self>) -> impl Peer + use<> {
        Single(Rc::clone(ipsec))
    }

    /// One call for many, if this version has it.
    pub fn batched(ipsec: &Rc<Self>) -> Option<impl Peer + use<>> {
        ipsec.quic.map(|(call, state)| Batched { ipsec: Rc::clone(ipsec), call, state })
    }
}

fn symbol(library: *mut c_void, name: &CStr) -> Option<*mut c_void> {
    // SAFETY: the library is open.
    let address = unsafe { libc::dlsym(library, name.as_ptr()) };
    (!address.is_null()).then_some(address)
}

fn version(library: *mut c_void) -> Option<String> {
    let address = symbol(library, c"imb_get_version_str")?;
    // SAFETY: the type is that of the header; the string is static.
    unsafe {
        let call = std::mem::transmute::<*mut c_void, unsafe extern "C" fn() -> *const libc::c_char>(address);
        Some(CStr::from_ptr(call()).to_string_lossy().into_owned())
    }
}

fn quic(library: *mut c_void) -> Option<(Quic, *mut c_void)> {
    let (call, make) = (symbol(library, c"imb_quic_aes_gcm")?, symbol(library, c"alloc_mb_mgr")?);
    let start = symbol(library, c"init_mb_mgr_auto")?;
    // SAFETY: the types are those of the library's header.
    unsafe {
        let make = std::mem::transmute::<*mut c_void, unsafe extern "C" fn(u64) -> *mut c_void>(make);
        let start = std::mem::transmute::<*mut c_void, unsafe extern "C" fn(*mut c_void, *mut u32)>(start);
        let state = make(0);
        if state.is_null() {
            return None;
        }
        start(state, std::ptr::null_mut());
        Some((std::mem::transmute::<*mut c_void, Quic>(call), state))
    }
}

struct Single(Rc<Ipsec>);

impl Single {
    /// One message; the tag it makes.
    fn crypt(&self, call: Crypt, message: &mut Message<'_>) -> [u8; TAG_LEN] {
        /// More than `struct gcm_context_data`.
        #[repr(C, align(64))]
        struct Context([u8; 256]);
        let mut context = Context([0; 256]);
        let mut tag = [0; TAG_LEN];
        let text = message.text_inout.as_mut_ptr();
        let len = message.text_inout.len() - TAG_LEN;
        // SAFETY: all pointers are good for the lengths beside them; source and target may be the same.
        unsafe {
            call(
                self.0.key_data.0.as_ptr().cast(),
                context.0.as_mut_ptr().cast(),
                text,
                text,
                len as u64,
                message.nonce.as_ptr(),
                message.aad.as_ptr(),
                message.aad.len() as u64,
                tag.as_mut_ptr(),
                TAG_LEN as u64,
            );
        }
        tag
    }
}

impl Peer for Single {
    fn name(&self) -> String {
        format!("intel-ipsec-mb {}", self.0.version)
    }

    fn seal(&mut self, messages: &mut [Message<'_>]) {
        for message in messages {
            let tag = self.crypt(self.0.seal, message);
            *message.text_inout.last_chunk_mut().expect("space for the tag") = tag;
        }
    }

    fn open(&mut self, messages: &mut [Message<'_>]) -> bool {
        let mut difference = 0;
        for message in messages {
            let tag = self.crypt(self.0.open, message);
            let found = message.text_inout.last_chunk().expect("space for the tag");
            difference |= u128::from_ne_bytes(tag) ^ u128::from_ne_bytes(*found);
        }
        std::hint::black_box(difference) == 0
    }
}

struct Batched {
    ipsec: Rc<Ipsec>,
    call: Quic,
    state: *mut c_void,
}

impl Batched {
    /// Up to [`BATCH`] messages of one AAD length; the tags they make.
    fn crypt(&self, direction: u32, messages: &mut [Message<'_>]) -> [[u8; TAG_LEN]; BATCH] {
        let mut tags = [[0; TAG_LEN]; BATCH];
        let tag_at = tags.each_mut().map(|tag| tag.as_mut_ptr());
        let mut texts = [std::ptr::null_mut(); BATCH];
        let mut ivs = [std::ptr::null(); BATCH];
        let mut aads = [std::ptr::null(); BATCH];
        let mut lens = [0; BATCH];
        for (i, message) in messages.iter_mut().enumerate() {
            texts[i] = message.text_inout.as_mut_ptr();
            ivs[i] = message.nonce.as_ptr();
            aads[i] = message.aad.as_ptr();
            lens[i] = (message.text_inout.len() - TAG_LEN) as u64;
        }
        // SAFETY: as many entries as packets in each array, each good for its length; source and target are the same.
        unsafe {
            (self.call)(
                self.state,
                self.ipsec.key_data.0.as_ptr().cast(),
                32,
                direction,
                texts.as_ptr(),
                texts.as_ptr().cast(),
                lens.as_ptr(),
                ivs.as_ptr(),
                aads.as_ptr(),
                messages.first().map_or(0, |message| message.aad.len()) as u64,
                tag_at.as_ptr(),
                TAG_LEN as u64,
                messages.len() as u64,
            );
        }
        tags
    }
}

impl Peer for Batched {
    fn name(&self) -> String {
        format!("intel-ipsec-mb {} QUIC", self.ipsec.version)
    }

    fn batch(&self) -> usize {
        BATCH
    }

    fn seal(&mut self, messages: &mut [Message<'_>]) {
        for batch in messages.chunks_mut(BATCH) {
            let tags = self.crypt(1, batch);
            for (message, tag) in batch.iter_mut().zip(tags) {
                *message.text_inout.last_chunk_mut().expect("space for the tag") = tag;
            }
        }
    }

    fn open(&mut self, messages: &mut [Message<'_>]) -> bool {
        let mut difference = 0;
        for batch in messages.chunks_mut(BATCH) {
            let tags = self.crypt(2, batch);
            for (message, tag) in batch.iter().zip(tags) {
                let found = message.text_inout.last_chunk().expect("space for the tag");
                difference |= u128::from_ne_bytes(tag) ^ u128::from_ne_bytes(*found);
            }
        }
        std::hint::black_box(difference) == 0
    }
}
