//! Reading a backup, and finding it whole.

use crate::frame::{HEAD, Head, Kind, PADDING};
use crate::lock::Unlock;
use crate::statement::{FORMAT, Header, MAGIC, Trailer};
use age::stream::StreamReader;
use age::{DecryptError, Decryptor};
use kms_crypto::SecretBytes;
use sha2::{Digest, Sha256};
use std::io::{self, Read};
use std::sync::{Arc, Mutex, PoisonError};

/// A backup being read. Until [`Event::End`] nothing says that it is whole: act on nothing before.
pub struct BackupReader<R: Read> {
    stream: StreamReader<Shared<R>>,
    /// The file itself, to see that nothing follows.
    file: Shared<R>,
    header: Header,
    digest: Sha256,
    records: u64,
    removed: u64,
    stage: Stage,
}

/// What comes next in a backup.
pub enum Event {
    /// The record at `path`.
    Record {
        /// Its place.
        path: String,
        /// Its content before sealing, with key material.
        content: SecretBytes,
    },
    /// There is no record at `path` any more.
    Removed {
        /// The place.
        path: String,
    },
    /// From now on, what comes replaces what was said of its place before.
    CatchUp,
    /// The backup is whole: nothing in it was altered, and nothing is missing.
    End(Trailer),
}

/// Why a backup could not be read. The messages say what to do, where anything can be done.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// It is no age file, or its head was altered.
    #[error("this is no backup, or its head is damaged: take another copy of the file")]
    NotABackup,
    /// It was encrypted to somebody else.
    #[error("this key or passphrase does not open the backup, or its head is damaged")]
    WrongKey,
    /// A passphrase was given for a backup to public keys, or the other way round.
    #[error("the backup is encrypted to a passphrase: give --passphrase-file")]
    PassphraseNeeded,
    /// A passphrase was given for a backup to public keys.
    #[error("the backup is encrypted to public keys: give --identity with the file of a private key")]
    KeyNeeded,
    /// A newer ZoneKMS wrote it.
    #[error("the backup has format {found}, this build reads up to {FORMAT}: use the newer zonekms that wrote it")]
    NewerFormat {
        /// The backup's format.
        found: u8,
    },
    /// It was altered or cut short.
    #[error("the backup is damaged: {0}; take another copy of the file, or an earlier backup")]
    Damaged(&'static str),
    /// The file could not be read.
    #[error("the backup could not be read: {0}")]
    Input(io::Error),
}

enum Stage {
    /// Every place comes once; the last one that came.
    Places(Option<String>),
    CatchUp,
    /// Nothing with secrets in it follows.
    Padded,
    Ended,
}

impl<R: Read> BackupReader<R> {
    /// Opens the backup `input` and reads its header.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn open(unlock: &Unlock, input: R) -> Result<Self, ReadError> {
        let file = Shared(Arc::new(Mutex::new(input)));
        let decryptor = Decryptor::new(file.clone()).map_err(of_age)?;
        match (unlock, decryptor.is_scrypt()) {
            (Unlock::Keys(_), true) => return Err(ReadError::PassphraseNeeded),
            (Unlock::Passphrase(_), false) => return Err(ReadError::KeyNeeded),
            (Unlock::Keys(_), false) | (Unlock::Passphrase(_), true) => {}
        }
        let identities = unlock.identities();
        let mut stream = decryptor.decrypt(identities.iter().map(AsRef::as_ref)).map_err(of_age)?;
        let (head, bytes) = read_head(&mut stream)?;
        if head.kind != Kind::Header || head.path != 0 {
            return Err(ReadError::Damaged("it does not begin with a header"));
        }
        let body = read_bytes(&mut stream, head.body)?;
        let digest = Sha256::new().chain_update(bytes).chain_update(body.expose());
        let header = decode_header(body.expose())?;
        Ok(Self { stream, file, header, digest, records: 0, removed: 0, stage: Stage::Places(None) })
    }

    /// What the backup says of itself.
    #[must_use]
    pub const fn header(&self) -> &Header {
        &self.header
    }

    /// What comes next.
    ///
    /// # Errors
    /// [`ReadError`]; also after [`Event::End`].
    pub fn next_event(&mut self) -> Result<Event, ReadError> {
        loop {
            let (head, bytes) = read_head(&mut self.stream)?;
            let before = self.digest.clone();
            self.digest.update(bytes);
            let path = read_bytes(&mut self.stream, head.path)?;
            let body = read_bytes(&mut self.stream, head.body)?;
            self.digest.update(path.expose());
            self.digest.update(body.expose());
            let path = std::str::from_utf8(path.expose()).map_err(|_| ReadError::Damaged("a path is no text"))?;
            if let Some(event) = self.take(head.kind, path, body, before)? {
                return Ok(event);
            }
        }
    }

    fn take(&mut self, kind: Kind, path: &str, body: SecretBytes, before: Sha256) -> Result<Option<Event>, ReadError> {
        match (kind, &mut self.stage) {
            (Kind::Record, Stage::Places(last)) if !path.is_empty() => {
                if last.as_deref().is_some_and(|last| last >= path) {
                    return Err(ReadError::Damaged("its records are out of order"));
                }
                *last = Some(path.to_owned());
                self.records += 1;
                Ok(Some(Event::Record { path: path.to_owned(), content: body }))
            }
            (Kind::Record, Stage::CatchUp) if !path.is_empty() => {
                self.records += 1;
                Ok(Some(Event::Record { path: path.to_owned(), content: body }))
            }
            (Kind::Removed, Stage::CatchUp) if !path.is_empty() && body.is_empty() => {
                self.removed += 1;
                Ok(Some(Event::Removed { path: path.to_owned() }))
            }
            (Kind::CatchUp, Stage::Places(_)) if path.is_empty() && body.is_empty() => {
                self.stage = Stage::CatchUp;
                Ok(Some(Event::CatchUp))
            }
            (Kind::Padding, Stage::Places(_) | Stage::CatchUp)
                if path.is_empty() && body.len() == PADDING && body.expose().iter().all(|byte| *byte == 0) =>
            {
                self.stage = Stage::Padded;
                Ok(None)
            }
            (Kind::Trailer, Stage::Padded) if path.is_empty() => {
                let trailer = self.check_trailer(body.expose(), before)?;
                self.stage = Stage::Ended;
                Ok(Some(Event::End(trailer)))
            }
            (
                Kind::Header | Kind::Record | Kind::Removed | Kind::CatchUp | Kind::Padding | Kind::Trailer,
                Stage::Places(_) | Stage::CatchUp | Stage::Padded | Stage::Ended,
            ) => Err(ReadError::Damaged("a frame stands where it does not belong")),
        }
    }

    fn check_trailer(&mut self, body: &[u8], before: Sha256) -> Result<Trailer, ReadError> {
        let unreadable = || ReadError::Damaged("its trailer cannot be read");
        let (trailer, rest): (Trailer, _) = postcard::take_from_bytes(body).map_err(|_| unreadable())?;
        if !rest.is_empty() {
            return Err(unreadable());
        }
        let digest: [u8; 32] = before.finalize().into();
        if trailer.digest != digest || trailer.records != self.records || trailer.removed != self.removed {
            return Err(ReadError::Damaged("it is not what its trailer says"));
        }
        // The end of the stream is authenticated too, and the end of the file is not age's to look for.
        let mut more = [0; 1];
        let follows =
            self.stream.read(&mut more).map_err(of_stream)? + self.file.read(&mut more).map_err(ReadError::Input)?;
        if follows == 0 { Ok(trailer) } else { Err(ReadError::Damaged("something follows its end")) }
    }
}

/// One file with two readers: age's, and ours at its end.
struct Shared<R>(Arc<Mutex<R>>);

impl<R> Clone for Shared<R> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<R: Read> Read for Shared<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).read(out)
    }
}

fn read_head(stream: &mut impl Read) -> Result<(Head, [u8; HEAD]), ReadError> {
    let mut bytes = [0; HEAD];
    stream.read_exact(&mut bytes).map_err(of_stream)?;
    let head = Head::decode(bytes).ok_or(ReadError::Damaged("a frame cannot be read"))?;
    Ok((head, bytes))
}

/// Exactly `len` bytes, which the limits of a head bound, read where they stay.
fn read_bytes(stream: &mut impl Read, len: usize) -> Result<SecretBytes, ReadError> {
    let mut bytes = SecretBytes::zeroed(len);
    stream.read_exact(bytes.expose_mut()).map_err(of_stream)?;
    Ok(bytes)
}

fn decode_header(body: &[u8]) -> Result<Header, ReadError> {
    let unreadable = || ReadError::Damaged("its header cannot be read");
    let (&found, rest) = body.strip_prefix(MAGIC).and_then(<[u8]>::split_first).ok_or(ReadError::NotABackup)?;
    if found > FORMAT {
        return Err(ReadError::NewerFormat { found });
    }
    if found != FORMAT {
        return Err(unreadable());
    }
    let (header, rest): (Header, _) = postcard::take_from_bytes(rest).map_err(|_| unreadable())?;
    if rest.is_empty() { Ok(header) } else { Err(unreadable()) }
}

fn of_age(error: DecryptError) -> ReadError {
    match error {
        DecryptError::Io(error) if error.kind() != io::ErrorKind::UnexpectedEof => ReadError::Input(error),
        DecryptError::NoMatchingKeys
        | DecryptError::DecryptionFailed
        | DecryptError::KeyDecryptionFailed
        | DecryptError::InvalidMac
        | DecryptError::ExcessiveWork { .. } => ReadError::WrongKey,
        DecryptError::Io(_) | DecryptError::InvalidHeader | DecryptError::UnknownFormat => ReadError::NotABackup,
    }
}

/// An error of age's stream: it says that a chunk does not open as data that is invalid or ends too early.
fn of_stream(error: io::Error) -> ReadError {
    let kind = error.kind();
    if kind == io::ErrorKind::InvalidData {
        ReadError::Damaged("a part of it was altered")
    } else if kind == io::ErrorKind::UnexpectedEof {
        ReadError::Damaged("its end is missing")
    } else {
        ReadError::Input(error)
    }
}
