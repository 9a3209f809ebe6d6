use crate::{header, new_pair, read_all, small_backup};
use kms_backup::{BackupReader, BackupWriter, Event, Lock, MAX_CONTENT, MAX_PATH, ReadError, Unlock, WriteError};
use kms_crypto::SecretBytes;
use std::io::{self, Write};

#[test]
fn what_is_written_is_read() {
    let pair = new_pair();
    let (read, told, trailer) = read_all(&pair.unlock, &small_backup(&pair.lock)).unwrap();
    assert_eq!(read, header());
    let expected = [
        "key/acme/1 = \"one\"",
        "name/acme/1 = \"\"",
        "catch-up",
        "key/acme/1 = \"another one\"",
        "name/acme/1 removed",
    ];
    assert_eq!(told, expected);
    assert_eq!((trailer.records, trailer.removed, trailer.as_of), (3, 1, 43));
}

#[test]
fn a_passphrase_locks_as_well_and_the_two_are_told_apart() {
    let file = SecretBytes::copy_from(b"  correct horse battery staple \n");
    let sealed = small_backup(&Lock::to_passphrase(&file).unwrap());
    let same = SecretBytes::copy_from(b"correct horse battery staple");
    assert_eq!(read_all(&Unlock::with_passphrase(&same).unwrap(), &sealed).unwrap().1.len(), 5);
    let other = SecretBytes::copy_from(b"correct horse battery stable");
    let refused = |unlock: &Unlock, sealed: &[u8]| BackupReader::open(unlock, sealed).err().unwrap();
    assert!(matches!(refused(&Unlock::with_passphrase(&other).unwrap(), &sealed), ReadError::WrongKey));
    let pair = new_pair();
    assert!(matches!(refused(&pair.unlock, &sealed), ReadError::PassphraseNeeded));
    let to_keys = small_backup(&pair.lock);
    assert!(matches!(refused(&Unlock::with_passphrase(&same).unwrap(), &to_keys), ReadError::KeyNeeded));
    assert!(matches!(refused(&new_pair().unlock, &to_keys), ReadError::WrongKey));
}

#[test]
fn a_backup_of_many_chunks_streams() {
    let pair = new_pair();
    let mut writer = BackupWriter::begin(&pair.lock, &header(), Vec::new()).unwrap();
    let content = |number: usize| vec![u8::try_from(number % 251).unwrap(); (number * 7919) % 9_000];
    for number in 0..200 {
        writer.record(&format!("key/acme/{number:04}"), &content(number)).unwrap();
    }
    let largest = vec![0xa5; MAX_CONTENT];
    writer.record(&"z".repeat(MAX_PATH), &largest).unwrap();
    assert!(matches!(writer.record("zz", &vec![0; MAX_CONTENT + 1]), Err(WriteError::TooLong)));
    assert_eq!(writer.records(), 201, "the refused one does not count");
    drop(writer);

    let mut writer = BackupWriter::begin(&pair.lock, &header(), Vec::new()).unwrap();
    for number in 0..200 {
        writer.record(&format!("key/acme/{number:04}"), &content(number)).unwrap();
    }
    writer.record(&"z".repeat(MAX_PATH), &largest).unwrap();
    let (sealed, _) = writer.finish(1).unwrap();
    let mut reader = BackupReader::open(&pair.unlock, sealed.as_slice()).unwrap();
    for number in 0..200 {
        let Event::Record { path, content: read } = reader.next_event().unwrap() else { panic!("no record") };
        assert_eq!((path, read.expose()), (format!("key/acme/{number:04}"), content(number).as_slice()));
    }
    let Event::Record { content, .. } = reader.next_event().unwrap() else { panic!("no record") };
    assert!(content.expose() == largest);
    assert!(matches!(reader.next_event().unwrap(), Event::End(_)));
}

#[test]
fn an_output_that_fails_is_told() {
    struct Full(usize);
    impl Write for Full {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0 = self.0.checked_sub(bytes.len()).ok_or(io::ErrorKind::StorageFull)?;
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let pair = new_pair();
    let mut writer = BackupWriter::begin(&pair.lock, &header(), Full(70_000)).unwrap();
    let written = (0..100).try_for_each(|number| writer.record(&format!("key/{number:03}"), &[1; 10_000]));
    let Err(WriteError::Output(error)) = written else { panic!("a full disk was not noticed") };
    assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    assert!(matches!(writer.finish(1), Err(WriteError::Output(_))));
}
