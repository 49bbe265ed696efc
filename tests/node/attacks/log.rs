//! Edits of the log and of IDENTITY: frames, headers, slot files.

use std::fs;
use std::fs::File;
use std::path::Path;
use std::process::Command;

use crate::attacks::BLOCK;
use crate::attacks::End;
use crate::attacks::Victim;
use crate::attacks::read_at;

/// A frame as it lies in its slot.
#[derive(Clone, Debug)]
struct Frame {
    offset: u64,
    bytes: Vec<u8>,
    kind: u32,
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap())
}

/// The frames of a slot, walked as their lengths say.
fn frames(slot: &Path) -> Vec<Frame> {
    let seed = salt_seed(slot);
    let mut frames = Vec::new();
    let mut offset = 2 * BLOCK;
    loop {
        let head = read_at(slot, offset, 64);
        let length = u32_at(&head, 4) as usize;
        if !(80..9 << 20).contains(&length) {
            return frames;
        }
        let bytes = read_at(slot, offset, length);
        if u32_at(&bytes, 0) != crc32c::crc32c_append(seed, &bytes[4..]) {
            return frames;
        }
        frames.push(Frame { offset, kind: u32_at(&bytes, 8), bytes });
        offset += (length as u64).next_multiple_of(BLOCK);
    }
}

fn salt_seed(slot: &Path) -> u32 {
    u32_at(&read_at(slot, 32, 4), 0)
}

fn mend(seed: u32, frame: &mut [u8]) {
    let crc = crc32c::crc32c_append(seed, &frame[4..]);
    frame[..4].copy_from_slice(&crc.to_be_bytes());
}

/// Both copies of a header, with the checksum mended.
fn header_edits(slot: &Path, edit: impl FnOnce(&mut [u8])) -> Vec<(u64, Vec<u8>)> {
    let mut header = read_at(slot, 0, 4096);
    edit(&mut header);
    let crc = crc32c::crc32c(&header[..4092]);
    header[4092..].copy_from_slice(&crc.to_be_bytes());
    vec![(0, header.clone()), (BLOCK, header)]
}

#[test]
fn frames_that_are_changed_moved_or_repeated_with_their_checksums_mended_are_refused() {
    let victim = Victim::killed();
    let slot = victim.newest_slot();
    let seed = salt_seed(&slot);
    let frames = frames(&slot);
    assert!(frames.len() > 10, "{} frames", frames.len());
    let edited = |at: usize, edit: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = frames[at].bytes.clone();
        edit(&mut bytes);
        mend(seed, &mut bytes);
        victim.with_log_edit(&slot, &[(frames[at].offset, bytes)]).refused_with(74, &["segment"]);
    };
    let last = frames.len() - 1;
    for at in [0, frames.len() / 2, last - 1, last] {
        let len = frames[at].bytes.len();
        // Body, tag, random, number, zero field, watermark, segment, previous tag, kind.
        for byte in [64.min(len - 1), len - 1, 12, 23, 24, 39, 47, 48, 11] {
            edited(at, &|bytes| bytes[byte] ^= 1);
        }
        // The seal taken off.
        edited(at, &|bytes| bytes[8] &= 0x7f);
    }
    // Two of one size change places; an older one is put over a newer.
    let mut same = (0..last).flat_map(|a| (a + 1..=last).map(move |b| (a, b)));
    let (a, b) = same.rfind(|(a, b)| frames[*a].bytes.len() == frames[*b].bytes.len()).unwrap();
    let swapped = [(frames[a].offset, frames[b].bytes.clone()), (frames[b].offset, frames[a].bytes.clone())];
    victim.with_log_edit(&slot, &swapped).refused_with(74, &["segment"]);
    victim.with_log_edit(&slot, &swapped[1..]).refused_with(74, &["segment"]);
    // A sector of zeros in front of others, and the last real frame zeroed while the idle one vouches for it.
    for at in [0, 1, frames.len() / 2, last - 1] {
        let zeroed = [(frames[at].offset, vec![0; 512])];
        victim.with_log_edit(&slot, &zeroed).refused_with(74, &["segment"]);
    }
    assert_ne!(frames[last].kind & 1 << 6, 0, "the last frame is an idle one");
    assert!(matches!(victim.start(), End::Whole), "with everything back it serves");
}

#[test]
fn headers_that_are_changed_with_their_checksums_mended_are_refused() {
    let victim = Victim::killed();
    let slot = victim.newest_slot();
    // Version, block, segment, its bytes, salt, chain, first frame, next index, compacted, its term, term, vote, commit,
    // cutover, node, cluster, slots, padding, GMAC.
    let fields = [15, 23, 31, 40, 70, 87, 95, 103, 111, 119, 127, 135, 143, 159, 170, 179, 1000, 4070];
    for at in fields {
        let end = victim.with_log_edit(&slot, &header_edits(&slot, |header| header[at] ^= 1));
        assert!(matches!(end, End::Refused(..)), "header byte {at}: {end:?}");
    }
    let end = victim.with_log_edit(&slot, &header_edits(&slot, |header| header[4064..4080].fill(0)));
    end.refused_with(74, &["segment"]);
    // Both copies unreadable, or different: the chain of frames proves that it was in use.
    victim.with_log_edit(&slot, &[(100, vec![0xee]), (BLOCK + 100, vec![0xee])]).refused_with(74, &["segment"]);
    let one = header_edits(&slot, |header| header[119] ^= 1).swap_remove(0);
    victim.with_log_edit(&slot, &[one]).refused_with(74, &["segment"]);
    // One copy is enough.
    assert!(matches!(victim.with_log_edit(&slot, &[(100, vec![0xee])]), End::Whole));
}

#[test]
fn slot_files_that_are_exchanged_lost_or_of_another_kind_are_refused_and_nothing_hangs() {
    let victim = Victim::killed();
    let slots = victim.slots();
    let newest = victim.newest_slot();
    let other = slots.iter().find(|slot| **slot != newest).unwrap();
    let aside = victim.site.path().join("aside");
    // The same segment twice.
    fs::rename(other, &aside).unwrap();
    fs::copy(&newest, other).unwrap();
    victim.start().refused_with(74, &["segment"]);
    // Too short, too long, empty.
    for len in [0, 4096, 8192, 8193, (33 << 20) - 4096, (33 << 20) + 4096] {
        fs::remove_file(other).unwrap();
        File::create(other).unwrap().set_len(len).unwrap();
        victim.start().refused_with(74, &["slot"]);
    }
    fs::remove_file(other).unwrap();
    // Another kind of file under its name.
    std::os::unix::fs::symlink(&aside, other).unwrap();
    assert!(matches!(victim.start(), End::Refused(..)));
    fs::remove_file(other).unwrap();
    assert!(Command::new("mkfifo").arg(other).status().unwrap().success());
    assert!(matches!(victim.start(), End::Refused(..)));
    fs::remove_file(other).unwrap();
    fs::create_dir(other).unwrap();
    assert!(matches!(victim.start(), End::Refused(..)));
    fs::remove_dir(other).unwrap();
    std::os::unix::fs::symlink("/dev/zero", other).unwrap();
    assert!(matches!(victim.start(), End::Refused(..)));
    fs::remove_file(other).unwrap();
    // A free slot in the place of the newest, which is then gone: state and log agree on an older past (README).
    fs::rename(&aside, other).unwrap();
    // A strange name beside them is nobody's.
    fs::write(victim.site.data().join("log/slot-9999.wal"), b"x").unwrap();
    assert!(matches!(victim.start(), End::Refused(..)));
    fs::remove_file(victim.site.data().join("log/slot-9999.wal")).unwrap();
    // Slots that change their names are all there still.
    fs::rename(&newest, &aside).unwrap();
    fs::rename(other, &newest).unwrap();
    fs::rename(&aside, other).unwrap();
    assert!(matches!(victim.start(), End::Whole));
}

#[test]
fn every_byte_of_identity_counts() {
    let victim = Victim::killed();
    let path = victim.site.data().join("IDENTITY");
    let good = fs::read(&path).unwrap();
    for at in 0..good.len() {
        let end = victim.with_edit(&path, |bytes| bytes[at] ^= 0x01);
        assert!(matches!(end, End::Refused(..)), "byte {at}");
    }
    for len in [0, 8, 48, good.len() - 1] {
        victim.with_edit(&path, |bytes| bytes.truncate(len)).refused_with(74, &["IDENTITY"]);
    }
    victim.with_edit(&path, |bytes| bytes.push(0)).refused_with(74, &["IDENTITY"]);
    // NO-WAY-DOWN: an IDENTITY in the clear with a right checksum, started with the KEK and without.
    let mut clear = good[..49].to_vec();
    clear[48] = 0;
    clear.extend_from_slice(&crc32c::crc32c(&clear).to_be_bytes());
    fs::write(&path, &clear).unwrap();
    victim.start().refused_with(78, &["KEK"]);
    victim.start_with(&victim.site.clear()).refused_with(74, &["sealed"]);
    fs::remove_file(&path).unwrap();
    assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
    victim.start().refused_with(74, &["IDENTITY"]);
    fs::remove_file(&path).unwrap();
    fs::write(&path, &good).unwrap();
    assert!(matches!(victim.start(), End::Whole));
}
