//! Opening a store on disk: nothing is served before every record was read and the account of them found right.

use crate::engine::{self, Engine, MANIFEST_PATH, META_PATH};
use crate::first_reading::{self, FirstReading};
use crate::manifest::{self, Accountant, Manifest, ManifestFault, Statement};
use crate::manifest_file::ManifestFile;
use crate::open_error::OpenError;
use crate::own_files::{self, StoreLock};
use crate::stored::StoreRevision;
use std::io;
use std::path::Path;

/// What the manifest file is good for.
#[derive(Clone, Copy)]
pub(crate) enum Trust {
    /// It knows how far the store had come: a store behind it is refused.
    Guard,
    /// The operator vouches for the store: the file is made anew from it.
    Adopt,
}

/// A store that was found right.
pub(crate) struct Found<E> {
    pub(crate) engine: E,
    pub(crate) records: FirstReading,
    pub(crate) manifest: Manifest,
    pub(crate) manifest_file: ManifestFile,
    pub(crate) lock: StoreLock,
}

/// The entries of an engine.
struct Contents {
    records: FirstReading,
    /// What the records read add up to.
    counted: Manifest,
    /// What the store says they add up to.
    stated: Option<Statement>,
    meta: Option<()>,
}

/// Opens the store in the directory `store` with the manifest file `file`; `start` starts the engine on that directory.
pub(crate) fn open<E: Engine>(
    store: &Path,
    file: &Path,
    accountant: &Accountant,
    trust: Trust,
    start: impl Fn(&Path) -> Result<E, OpenError>,
) -> Result<Found<E>, OpenError> {
    let lock = StoreLock::take(store)?;
    let outside = match trust {
        Trust::Guard => ManifestFile::open(file, accountant)?,
        Trust::Adopt => None,
    };
    own_files::directory(store)?;
    if own_files::is_empty(store)? {
        refuse_to_start_empty(outside.as_ref(), trust)?;
    }
    let mut engine = start(store)?;
    let contents = read(&engine, accountant, store)?;
    let manifest = match contents.account(accountant)? {
        Some(manifest) => {
            // It keeps much of what was read through it. One that starts anew gives that memory back.
            drop(engine);
            engine = start(store)?;
            manifest
        }
        None => {
            refuse_to_start_empty(outside.as_ref(), trust)?;
            initialise(&mut engine, accountant).map_err(|what| engine_failed(store, what))?
        }
    };
    // What a killed process wrote may lie in the page cache only; nobody may see it before it is safe.
    engine.sync().map_err(|what| engine_failed(store, what))?;
    let manifest_file = match outside {
        Some((mut manifest_file, expected)) => {
            compare(accountant, &manifest, &expected)?;
            if manifest.revision > expected.revision {
                tracing::info!(
                    from = expected.revision.get(),
                    to = manifest.revision.get(),
                    "the manifest file is brought up to the store: the process was stopped between the two"
                );
            }
            let written = manifest_file.write(accountant, &manifest);
            written.map_err(|error| own_files::failed(manifest_file.path(), error))?;
            manifest_file
        }
        None => {
            match trust {
                Trust::Guard if manifest.revision == StoreRevision::ZERO => {}
                Trust::Guard => return Err(OpenError::ManifestMissing { path: file.to_owned() }),
                Trust::Adopt => {
                    tracing::warn!(revision = manifest.revision.get(), "the store is adopted as it stands");
                }
            }
            ManifestFile::create(file, accountant, &manifest)?
        }
    };
    Ok(Found { engine, records: contents.records, manifest, manifest_file, lock })
}

impl Contents {
    /// The store's account, checked against its records; `None` for a store that was never begun.
    fn account(&self, accountant: &Accountant) -> Result<Option<Manifest>, OpenError> {
        match (&self.meta, &self.stated) {
            (Some(()), Some(stated)) => {
                let lost = OpenError::RecordsLost {
                    found: self.counted.live,
                    expected: stated.live,
                    revision: stated.revision.get(),
                };
                let manifest = self.counted.clone().at(stated.revision);
                if manifest.live != stated.live {
                    Err(lost)
                } else if accountant.agree(stated, &manifest) {
                    Ok(Some(manifest))
                } else {
                    Err(OpenError::Damaged { what: "its records differ from those its manifest counts".to_owned() })
                }
            }
            (None, None) if self.records.is_empty() => Ok(None),
            (None, _) | (Some(()), None) => {
                Err(OpenError::Damaged { what: "its first entry or its manifest is missing".to_owned() })
            }
        }
    }
}

fn read<E: Engine>(engine: &E, accountant: &Accountant, store: &Path) -> Result<Contents, OpenError> {
    let mut meta = None;
    let mut stated = None;
    let own = |path: &[u8], value: &[u8]| {
        if path == META_PATH.as_bytes() {
            meta = Some(engine::check_meta(value, &accountant.store_id, store)?);
        } else {
            stated = Some(accountant.decode(value).map_err(|fault| refused(&fault, store))?);
        }
        Ok(())
    };
    let (records, counted) = first_reading::read_and_count(accountant, |visit| engine.read_all(visit), own)?;
    Ok(Contents { records, counted, stated, meta })
}

/// Writes the first two entries of a new store.
fn initialise<E: Engine>(engine: &mut E, accountant: &Accountant) -> Result<Manifest, String> {
    let manifest = Accountant::empty();
    engine.write(vec![
        (META_PATH.into(), engine::encode_meta(&accountant.store_id)),
        (MANIFEST_PATH.into(), accountant.encode(&manifest).to_vec()),
    ])?;
    tracing::info!("a new store was made");
    Ok(manifest)
}

/// Whether a store at `inside` may follow one that had come to `outside`.
fn compare(accountant: &Accountant, inside: &Manifest, outside: &Statement) -> Result<(), OpenError> {
    if inside.revision < outside.revision {
        return Err(OpenError::RolledBack { store: inside.revision.get(), expected: outside.revision.get() });
    }
    if inside.revision == outside.revision && !accountant.agree(outside, inside) {
        return Err(OpenError::Damaged {
            what: "it stands at the revision of the manifest file with other records".to_owned(),
        });
    }
    Ok(())
}

fn refuse_to_start_empty(outside: Option<&(ManifestFile, Statement)>, trust: Trust) -> Result<(), OpenError> {
    match (outside, trust) {
        (_, Trust::Adopt) => Err(OpenError::Damaged { what: "there is nothing in it to adopt".to_owned() }),
        (Some((_, expected)), Trust::Guard) if expected.revision > StoreRevision::ZERO => {
            Err(OpenError::RecordsLost { found: 0, expected: expected.live, revision: expected.revision.get() })
        }
        (_, Trust::Guard) => Ok(()),
    }
}

fn engine_failed(store: &Path, what: String) -> OpenError {
    own_files::failed(store, io::Error::other(what))
}

fn refused(fault: &ManifestFault, store: &Path) -> OpenError {
    match fault {
        ManifestFault::Newer { found } => OpenError::NewerFormat { found: *found, known: manifest::FORMAT },
        ManifestFault::OtherStore => OpenError::WrongStore { path: store.to_owned() },
        ManifestFault::Malformed => {
            OpenError::Damaged { what: "its manifest cannot be read, or was made under another key".to_owned() }
        }
    }
}
