use crate::{header, new_pair, read_all, small_backup};
use kms_backup::{BackupWriter, ReadError};

#[test]
fn every_flipped_byte_is_caught() {
    let pair = new_pair();
    let whole = small_backup(&pair.lock);
    read_all(&pair.unlock, &whole).unwrap();
    const THREADS: usize = 4;
    std::thread::scope(|scope| {
        for first in 0..THREADS {
            let (pair, whole, mut bytes) = (&pair, &whole, whole.clone());
            scope.spawn(move || {
                for at in (first..whole.len()).step_by(THREADS) {
                    // Each bit has its turn, at another byte each.
                    bytes[at] ^= 1 << (at / THREADS % 8);
                    assert!(read_all(&pair.unlock, &bytes).is_err(), "byte {at} of {} can be altered", whole.len());
                    bytes[at] = whole[at];
                }
            });
        }
    });
}

#[test]
fn every_truncation_and_addition_is_caught() {
    let pair = new_pair();
    let whole = small_backup(&pair.lock);
    for len in 0..whole.len() {
        assert!(
            read_all(&pair.unlock, &whole[..len]).is_err(),
            "{len} of {} bytes are taken for a backup",
            whole.len()
        );
    }
    for more in [&b"\0"[..], b"more", &whole] {
        assert!(read_all(&pair.unlock, &[&whole, more].concat()).is_err());
    }
}

#[test]
fn whole_chunks_cannot_be_left_out_or_swapped() {
    let pair = new_pair();
    let mut writer = BackupWriter::begin(&pair.lock, &header(), Vec::new()).unwrap();
    for number in 0..40 {
        writer.record(&format!("key/{number:03}"), &[number; 10_000]).unwrap();
    }
    let (whole, _) = writer.finish(1).unwrap();
    read_all(&pair.unlock, &whole).unwrap();
    const CHUNK: usize = 65_536 + 16;
    let head = whole.len() - (whole.len() / CHUNK) * CHUNK;
    // Whatever part of the file is the head: chunks at every offset that may be one's beginning.
    for begin in [head, whole.len() % CHUNK] {
        let (one, two) = (begin..begin + CHUNK, begin + CHUNK..begin + 2 * CHUNK);
        let without = [&whole[..one.start], &whole[one.end..]].concat();
        let swapped = [&whole[..one.start], &whole[two.clone()], &whole[one], &whole[two.end..]].concat();
        assert!(read_all(&pair.unlock, &without).is_err() && read_all(&pair.unlock, &swapped).is_err());
    }
    assert!(read_all(&pair.unlock, &whole[..whole.len() - CHUNK]).is_err());
}

#[test]
fn records_out_of_order_and_other_files_are_refused() {
    let pair = new_pair();
    for paths in [["key/2", "key/1"], ["key/1", "key/1"]] {
        let mut writer = BackupWriter::begin(&pair.lock, &header(), Vec::new()).unwrap();
        for path in paths {
            writer.record(path, b"").unwrap();
        }
        let (bytes, _) = writer.finish(1).unwrap();
        assert!(matches!(read_all(&pair.unlock, &bytes), Err(ReadError::Damaged(_))), "{paths:?}");
    }
    let mut writer = BackupWriter::begin(&pair.lock, &header(), Vec::new()).unwrap();
    writer.removed("key/1").unwrap();
    assert!(matches!(read_all(&pair.unlock, &writer.finish(1).unwrap().0), Err(ReadError::Damaged(_))));
    assert!(matches!(read_all(&pair.unlock, b"not a backup"), Err(ReadError::NotABackup)));
    assert!(matches!(read_all(&pair.unlock, b""), Err(ReadError::NotABackup)));
}
