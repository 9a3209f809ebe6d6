//! Freed memory serves the next request. In a process of its own: glibc raises its limits by itself once something large was freed.

#![cfg(test)]
#![cfg(target_env = "gnu")]

use std::fs;

/// Pages that the kernel had to find for this thread so far.
fn page_faults() -> u64 {
    let stat = fs::read_to_string("/proc/thread-self/stat").unwrap();
    let (_, after_name) = stat.rsplit_once(')').unwrap();
    after_name.split_ascii_whitespace().nth(7).unwrap().parse().unwrap()
}

/// The pages found in the course of a thousand requests with 64 KiB in each.
fn thousand_requests() -> u64 {
    let before = page_faults();
    for _ in 0..1000 {
        let blocks = [87_000, 66_000, 66_000, 87_000].map(|size| vec![7; size]);
        assert!(blocks.iter().all(|block| block[block.len() / 2] == 7));
    }
    page_faults() - before
}

#[test]
fn memory_of_one_request_serves_the_next() {
    let given_back = thousand_requests();
    assert!(given_back > 1000, "{given_back} pages: glibc keeps what it is not told to keep");
    kms_heap::keep_freed(4 << 20);
    // A thread's heap grows once more.
    thousand_requests();
    let kept = thousand_requests();
    assert!(kept < 100, "{kept} pages");
}
