//! Goal: no branch and no address depends on key or plaintext. Method: under valgrind both are marked as undefined, and
//! memcheck reports every branch and address that comes of undefined bytes. `scripts/slow constant-time` runs it.
//!
//! Valgrind knows the instructions of the AES-NI tier only: `eights`, `stream` and `segments`, which only 512 bits have, are
//! not run. Opening is compiled from the same source and ends in a verdict that is public, so sealing is what is run.

use super::*;

/// Valgrind's client requests: a sequence of rotations that does nothing outside of it.
#[allow(unsafe_code, reason = "the client request of valgrind is an instruction sequence")]
fn request(code: usize, at: usize, len: usize) -> usize {
    let arguments = [code, at, len, 0, 0, 0];
    let mut result = 0usize;
    // SAFETY: rotates a register by 128 bits in all; valgrind reads the arguments.
    unsafe {
        std::arch::asm!(
            "rol rdi, 3", "rol rdi, 13", "rol rdi, 61", "rol rdi, 51", "xchg rbx, rbx",
            in("rax") arguments.as_ptr(), inout("rdx") result, inout("rdi") 0usize => _,
            options(nostack)
        );
    }
    result = std::hint::black_box(result);
    result
}

/// `VALGRIND_MAKE_MEM_UNDEFINED` and `VALGRIND_MAKE_MEM_DEFINED` of memcheck, `RUNNING_ON_VALGRIND`, `VALGRIND_COUNT_ERRORS`.
const MAKE_UNDEFINED: usize = 0x4d43_0001;
const MAKE_DEFINED: usize = 0x4d43_0002;
const RUNNING: usize = 0x1001;
const COUNT_ERRORS: usize = 0x1201;

fn mark(code: usize, bytes: &[u8]) {
    request(code, bytes.as_ptr() as usize, bytes.len());
}

#[test]
fn sealing_does_not_branch_on_secrets() {
    if request(RUNNING, 0, 0) == 0 {
        println!("NOT RUN: not under valgrind; scripts/slow constant-time runs it");
        return;
    }
    let random = Seeded::replayable(SEED);
    let key: [u8; KEY_LEN] = random.array();
    let expected = Library::new(&key);
    mark(MAKE_UNDEFINED, &key);
    let aead = Tier::AesNi.key(&key).expect("valgrind has AES-NI");
    for (count, len) in [(4, 0), (4, 64), (7, 61), (3, 200), (1, 64), (1, 700), (4, 1000), (2, 3000)] {
        for aad_len in [0, 6, 31, 300] {
            let plain: Vec<Owned> = (0..count).map(|i| Owned::random(&random, len + i % 2, aad_len)).collect();
            let mut sealed = plain.clone();
            for message in &sealed {
                mark(MAKE_UNDEFINED, message.plain());
            }
            seal(aead.as_ref(), &mut sealed);
            for message in &sealed {
                mark(MAKE_DEFINED, &message.text);
            }
            let mut by_library = plain;
            seal(&expected, &mut by_library);
            assert!(sealed == by_library);
        }
    }
    let errors = request(COUNT_ERRORS, 0, 0);
    println!("{errors} branches or addresses of secrets");
    assert_eq!(errors, 0);

    // What proves that the check sees anything: a branch on the key.
    if std::hint::black_box(key[0]) > 127 {
        println!("the first byte of the key is large");
    }
    assert!(request(COUNT_ERRORS, 0, 0) > errors, "a branch on the key was not noticed");
}
