//! Each operation: its body read, the service called, its answer written.

use crate::answer_body::Content;
use crate::answers::{self, KeyAnswer, KeyList, RotationChanged, RotationList, Success, TargetRegistered, ZoneList};
use crate::finished::FinishedOperation;
use crate::front_door::ZoneEntry;
use crate::limits::RequestLimits;
use crate::problem::Problem;
use crate::requests;
use crate::route::{KeyOperation, Route};
use kms_lifecycle::{Command, Key};
use kms_service::{Caller, Kms, KmsError, ReEncryptDestination, ReEncryptSource};
use kms_types::{KeyId, MaterialVersion};
use serde::Serialize;
use std::sync::Arc;
use tokio::time::{Instant, timeout_at};

/// A successful answer.
pub(crate) struct Answer {
    /// JSON.
    pub(crate) content: Content,
    /// The key version that a crypto call used.
    pub(crate) key_version: Option<MaterialVersion>,
}

/// What it takes to perform the operation `route`.
pub(crate) struct Operations<'a> {
    pub(crate) kms: &'a Kms,
    pub(crate) limits: &'a RequestLimits,
    pub(crate) deadline: Instant,
    pub(crate) route: Route,
}

impl Operations<'_> {
    /// Performs the operation for a caller whose signature was verified.
    pub(crate) async fn perform(&self, caller: &Caller, zones: &[ZoneEntry], body: &[u8]) -> Result<Answer, Problem> {
        match self.route {
            Route::ListZones => self.list_zones(zones, body),
            Route::GetOperation(id) => {
                takes_no_body(body)?;
                let keys = self.served(self.kms.list_keys(caller))?;
                let found = FinishedOperation::find(id, keys.iter().map(AsRef::as_ref));
                json(&found.ok_or_else(Problem::operation_not_found)?)
            }
            Route::ListKeys => {
                takes_no_body(body)?;
                let keys = self.served(self.kms.list_keys(caller))?;
                json(&KeyList::of(keys.iter().map(AsRef::as_ref)))
            }
            Route::CreateKey => {
                let request = requests::create_key(body)?;
                let key = self.change(self.kms.create_key(caller, request)).await?;
                json(&KeyAnswer::created(&key))
            }
            Route::Key(id, operation) => self.on_key(caller, id, operation, body).await,
        }
    }

    /// Performs an operation that waits for nothing. `None` when `route` is not one of these.
    pub(crate) fn perform_at_once(&self, caller: &Caller, body: &[u8]) -> Option<Result<Answer, Problem>> {
        match self.route {
            Route::Key(id, KeyOperation::Encrypt) => Some(self.encrypt(caller, id, body)),
            Route::Key(id, KeyOperation::Decrypt) => Some(self.decrypt(caller, id, body)),
            Route::Key(id, KeyOperation::ReEncrypt) => Some(self.re_encrypt(caller, id, body)),
            Route::Key(id, KeyOperation::GenerateDataKey) => Some(self.generate_data_key(caller, id, body)),
            Route::Key(..) | Route::ListZones | Route::GetOperation(_) | Route::ListKeys | Route::CreateKey => None,
        }
    }

    /// The zones, for anyone.
    pub(crate) fn list_zones(&self, zones: &[ZoneEntry], body: &[u8]) -> Result<Answer, Problem> {
        takes_no_body(body)?;
        json(&ZoneList::of(zones.iter().map(|zone| (&zone.name, zone.api_endpoint.as_str()))))
    }

    async fn on_key(
        &self,
        caller: &Caller,
        id: KeyId,
        operation: KeyOperation,
        body: &[u8],
    ) -> Result<Answer, Problem> {
        let command = |command| self.change(self.kms.change_key(caller, id, command));
        match operation {
            KeyOperation::Get => {
                takes_no_body(body)?;
                let key = self.get(caller, id)?;
                let replicas = self.served(self.kms.replica_status(caller, id))?;
                json(&KeyAnswer::whole(&key, &replicas, self.kms.zone_name()))
            }
            KeyOperation::ListRotations => {
                takes_no_body(body)?;
                json(&RotationList::of(&*self.get(caller, id)?))
            }
            KeyOperation::Enable => {
                requests::nothing(body, id)?;
                command(Command::Enable).await?;
                json(&Success::plain())
            }
            KeyOperation::Disable => {
                requests::nothing(body, id)?;
                command(Command::Disable).await?;
                json(&Success::plain())
            }
            KeyOperation::Rotate => {
                requests::nothing(body, id)?;
                json(&RotationChanged::of(&*command(Command::Rotate).await?))
            }
            KeyOperation::EnableRotation => {
                let request = requests::enable_rotation(body, id)?;
                json(&RotationChanged::of(&*command(request).await?))
            }
            KeyOperation::DisableRotation => {
                requests::nothing(body, id)?;
                json(&RotationChanged::of(&*command(Command::DisableRotation).await?))
            }
            KeyOperation::ScheduleDeletion => {
                let request = requests::schedule_deletion(body)?;
                json(&Success::with_deletion_of(&*command(request).await?))
            }
            KeyOperation::CancelDeletion => {
                requests::nothing(body, id)?;
                command(Command::CancelDeletion).await?;
                json(&Success::plain())
            }
            KeyOperation::Replicate => {
                let target = requests::replicate(body)?;
                let replicated = self.change(self.kms.replicate_key(caller, id, target)).await?;
                json(&TargetRegistered::of(&replicated.key))
            }
            KeyOperation::Encrypt => self.encrypt(caller, id, body),
            KeyOperation::Decrypt => self.decrypt(caller, id, body),
            KeyOperation::ReEncrypt => self.re_encrypt(caller, id, body),
            KeyOperation::GenerateDataKey => self.generate_data_key(caller, id, body),
        }
    }

    fn encrypt(&self, caller: &Caller, id: KeyId, body: &[u8]) -> Result<Answer, Problem> {
        let request = requests::encrypt(body, self.limits)?;
        let context = request.context.as_encryption_context();
        let encrypted = self.served(self.kms.encrypt(caller, id, request.data.expose(), context))?;
        Ok(written(answers::ciphertext(&encrypted.ciphertext))?.made_with(encrypted.version))
    }

    fn decrypt(&self, caller: &Caller, id: KeyId, body: &[u8]) -> Result<Answer, Problem> {
        let request = requests::decrypt(body, self.limits)?;
        let context = request.context.as_encryption_context();
        let decrypted = self.served(self.kms.decrypt(caller, id, request.data.expose(), context))?;
        Ok(written(answers::plaintext(&decrypted.plaintext))?.made_with(decrypted.version))
    }

    fn re_encrypt(&self, caller: &Caller, id: KeyId, body: &[u8]) -> Result<Answer, Problem> {
        let request = requests::re_encrypt(body, id, self.limits)?;
        let source = ReEncryptSource {
            key: id,
            ciphertext: request.source.data.expose(),
            context: request.source.context.as_encryption_context(),
        };
        let destination = ReEncryptDestination {
            key: request.destination_key,
            context: request.destination_context.as_encryption_context(),
        };
        let encrypted = self.served(self.kms.re_encrypt(caller, source, destination))?;
        Ok(written(answers::ciphertext(&encrypted.ciphertext))?.made_with(encrypted.version))
    }

    fn generate_data_key(&self, caller: &Caller, id: KeyId, body: &[u8]) -> Result<Answer, Problem> {
        let request = requests::generate_data_key(body, self.limits)?;
        let context = request.context.as_encryption_context();
        let made = self.served(self.kms.generate_data_key(caller, id, request.length, context))?;
        Ok(written(answers::data_key(&made.plaintext, &made.ciphertext))?.made_with(made.version))
    }

    fn get(&self, caller: &Caller, id: KeyId) -> Result<Arc<Key>, Problem> {
        self.served(self.kms.get_key(caller, id))
    }

    /// Waits for a change, which goes on in a task of its own when the wait is over or the client leaves.
    async fn change<T>(&self, change: impl Future<Output = Result<T, KmsError>>) -> Result<T, Problem> {
        let outcome = timeout_at(self.deadline, change).await;
        self.served(outcome.unwrap_or(Err(KmsError::OutcomeUnknown)))
    }

    fn served<T>(&self, outcome: Result<T, KmsError>) -> Result<T, Problem> {
        outcome.map_err(|error| Problem::of(error, self.route))
    }
}

impl Answer {
    fn made_with(self, version: MaterialVersion) -> Self {
        Self { key_version: Some(version), ..self }
    }
}

fn takes_no_body(body: &[u8]) -> Result<(), Problem> {
    if body.is_empty() { Ok(()) } else { Err(Problem::body_not_taken()) }
}

fn json(answer: &impl Serialize) -> Result<Answer, Problem> {
    written(serde_json::to_vec(answer).ok().map(Content::Public))
}

fn written(content: Option<Content>) -> Result<Answer, Problem> {
    Ok(Answer { content: content.ok_or_else(Problem::internal)?, key_version: None })
}
