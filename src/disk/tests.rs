//! Both engines on real files: writes are there, refusals leave nothing behind.

use std::time::Duration;

use crate::disk::AlignedBuffer;
use crate::disk::BLOCK_BYTES_MIN;
use crate::disk::Completion;
use crate::disk::Disk;
use crate::disk::DiskConfig;
use crate::disk::Done;
use crate::disk::Engine;
use crate::disk::EngineChoice;
use crate::disk::OpId;
use crate::disk::SlotId;
use crate::disk::WriteRequest;
use crate::disk::files::SlotFiles;
use crate::disk::open;
use crate::disk::plain::PlainDisk;

const SLOT_BYTES: u64 = 64 << 10;

fn config(dir: &tempfile::TempDir, engine: EngineChoice) -> DiskConfig {
    DiskConfig { dir: dir.path().to_owned(), engine, slots_max: 8, buffers: 2, buffer_bytes: 16 << 10 }
}

fn complete(disk: &mut dyn Disk) -> Completion {
    for _ in 0..100 {
        if let Some(completion) = disk.wait(Duration::from_millis(100)).unwrap() {
            return completion;
        }
    }
    panic!("nothing came back");
}

fn write(disk: &mut dyn Disk, op: u64, slot: u32, offset: u64, fill: u8) {
    let mut buffer = disk.take_buffer(8192);
    buffer.fill(fill);
    disk.submit_write(WriteRequest { op: OpId(op), slot: SlotId(slot), offset, buffer, from: 4096, to: 8192 }).unwrap();
    let written = complete(disk);
    assert_eq!(written.op, OpId(op));
    assert!(matches!(written.result.unwrap(), Done::Written { bytes: 4096, .. }));
    disk.return_buffer(written.buffer.unwrap());
    disk.submit_sync(OpId(op + 1), SlotId(slot)).unwrap();
    let synced = complete(disk);
    assert_eq!((synced.op, synced.result.unwrap()), (OpId(op + 1), Done::Synced));
}

fn exercise(disk: &mut dyn Disk) {
    assert_eq!(disk.slot_count(), 0);
    let mut seen = 0;
    for slot in 0..2 {
        assert_eq!(disk.create_slot(SLOT_BYTES, &mut |done| seen = done).unwrap(), SlotId(slot));
        assert_eq!(seen, SLOT_BYTES);
    }
    write(disk, 1, 0, 4096, 0xaa);
    write(disk, 3, 1, SLOT_BYTES - 4096, 0xbb);
    let mut buffer = AlignedBuffer::new(SLOT_BYTES as usize, disk.block_bytes());
    disk.read(SlotId(0), 0, &mut buffer, SLOT_BYTES as usize).unwrap();
    assert!(buffer[..4096].iter().all(|byte| *byte == 0), "real zeros");
    assert!(buffer[4096..8192].iter().all(|byte| *byte == 0xaa));
    assert!(buffer[8192..].iter().all(|byte| *byte == 0));
    disk.read(SlotId(1), SLOT_BYTES - 4096, &mut buffer, 4096).unwrap();
    assert!(buffer[..4096].iter().all(|byte| *byte == 0xbb));
    assert!(disk.read(SlotId(1), SLOT_BYTES - 4096, &mut buffer, 8192).is_err(), "past the end");
    assert!(disk.read(SlotId(7), 0, &mut buffer, 4096).is_err(), "no such slot");
    disk.start_growing(SLOT_BYTES);
    let grown = loop {
        match disk.take_grown() {
            Some(grown) => break grown.unwrap(),
            None => std::thread::sleep(Duration::from_millis(5)),
        }
    };
    assert_eq!((grown, disk.slot_count()), (SlotId(2), 3));
    write(disk, 5, 2, 0, 0xcc);
    assert!(disk.take_grown().is_none());
}

fn names(dir: &tempfile::TempDir) -> Vec<String> {
    let entries = std::fs::read_dir(dir.path()).unwrap();
    let mut names: Vec<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn every_engine_reads_what_it_wrote_and_grows() {
    for engine in [EngineChoice::Plain, EngineChoice::Auto] {
        let dir = tempfile::tempdir().unwrap();
        exercise(open(&config(&dir, engine)).unwrap().as_mut());
        assert_eq!(names(&dir), ["slot-0000.wal", "slot-0001.wal", "slot-0002.wal"]);
        let disk = open(&config(&dir, EngineChoice::Plain)).unwrap();
        assert_eq!(
            (0..4).map(|slot| disk.slot_bytes(SlotId(slot))).collect::<Vec<_>>(),
            [Some(SLOT_BYTES), Some(SLOT_BYTES), Some(SLOT_BYTES), None]
        );
    }
}

#[test]
fn the_plain_engine_works_without_the_sync_flag() {
    let dir = tempfile::tempdir().unwrap();
    let mut disk = PlainDisk::new(SlotFiles::open(dir.path()).unwrap(), false);
    exercise(&mut disk);
}

#[test]
fn opening_leaves_nothing_behind_and_ignores_what_is_not_ours() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["slot-7.wal", "slot-0000.new", "notes", "slot-0003.wal"] {
        std::fs::write(dir.path().join(name), b"x").unwrap();
    }
    let before = names(&dir);
    let disk = open(&config(&dir, EngineChoice::Auto)).unwrap();
    assert_eq!(disk.slot_count(), 4, "a gap counts, so that it can be named");
    assert_eq!(disk.slot_bytes(SlotId(0)), None);
    assert_eq!(disk.slot_bytes(SlotId(3)), Some(1));
    drop(disk);
    assert_eq!(names(&dir), before);
}

#[test]
fn a_directory_that_is_not_there_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = config(&dir, EngineChoice::Auto);
    config.dir.push("nothing");
    assert!(open(&config).is_err());
}

#[test]
fn a_large_buffer_is_written_unregistered() {
    let dir = tempfile::tempdir().unwrap();
    let mut disk = open(&config(&dir, EngineChoice::Auto)).unwrap();
    disk.create_slot(SLOT_BYTES, &mut |_| ()).unwrap();
    let mut buffer = disk.take_buffer(SLOT_BYTES as usize);
    buffer.fill(0x11);
    let to = SLOT_BYTES as usize;
    disk.submit_write(WriteRequest { op: OpId(1), slot: SlotId(0), offset: 0, buffer, from: 0, to }).unwrap();
    assert!(matches!(complete(disk.as_mut()).result.unwrap(), Done::Written { bytes, .. } if bytes == to));
    let mut back = AlignedBuffer::new(to, disk.block_bytes());
    disk.read(SlotId(0), 0, &mut back, to).unwrap();
    assert!(back.iter().all(|byte| *byte == 0x11));
}

#[test]
fn aligned_buffers_are_aligned_and_stay_where_they_are() {
    for len in [1, 4096, 10_000, 1 << 20] {
        let buffer = AlignedBuffer::new(len, BLOCK_BYTES_MIN);
        let address = buffer.as_ptr();
        assert_eq!((address as usize % BLOCK_BYTES_MIN, buffer.len()), (0, len));
        let moved = [buffer];
        assert_eq!(moved[0].as_ptr(), address);
    }
}

#[test]
fn the_engine_words_are_those_of_the_flag() {
    assert_eq!("auto".parse(), Ok(EngineChoice::Auto));
    assert_eq!("uring".parse(), Ok(EngineChoice::Uring));
    assert_eq!("plain".parse(), Ok(EngineChoice::Plain));
    assert!("io_uring".parse::<EngineChoice>().is_err());
}

// A ring that fails its trial gives way to plain calls without a word in any test, so the tests themselves must say that
// it does not.
#[test]
fn io_uring_is_taken_where_a_ring_can_be_built() {
    let dir = tempfile::tempdir().unwrap();
    let mut ring: io_uring::Builder = io_uring::IoUring::builder();
    ring.setup_single_issuer().setup_defer_taskrun().setup_submit_all().setup_r_disabled();
    if let Err(error) = ring.build(2) {
        eprintln!("skipped: no ring here: {error}");
        return;
    }
    if !SlotFiles::open(dir.path()).unwrap().direct() {
        eprintln!("skipped: {} takes no direct writes", dir.path().display());
        return;
    }
    assert_eq!(open(&config(&dir, EngineChoice::Auto)).unwrap().engine(), Engine::Uring);
}
