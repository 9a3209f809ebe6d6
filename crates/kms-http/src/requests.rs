//! One typed request per operation, read from its body.
//!
//! Members are read in the order of the API's documents, which is the order in which their faults are told.

use crate::base64_text;
use crate::faults::Faults;
use crate::fields::{Fields, NoObject, boolean, bytes, number, parsed, path_id, word};
use crate::limits::RequestLimits;
use crate::plain_object;
use kms_crypto::{EncryptionContext, SecretBytes};
use kms_lifecycle::{Command, Reach};
use kms_service::CreateKey;
use kms_types::{DataKeyLength, KeyId, ZoneName};
use serde_json::value::RawValue;

/// Why a body is not a request.
#[derive(Debug)]
pub(crate) enum BadBody {
    NoObject(NoObject),
    Faults(Faults),
}

/// An encryption context as a request gives it: absent, null and empty are the same.
pub(crate) struct Context(Option<SecretBytes>);

impl Context {
    /// As the cryptography takes it.
    pub(crate) fn as_encryption_context(&self) -> EncryptionContext<'_> {
        EncryptionContext::from_bytes(self.0.as_ref().map_or(&[], SecretBytes::expose))
    }
}

/// A plaintext to encrypt or a ciphertext to decrypt, with its context.
pub(crate) struct Message {
    pub(crate) data: SecretBytes,
    pub(crate) context: Context,
}

pub(crate) struct ReEncrypt {
    pub(crate) source: Message,
    pub(crate) destination_key: KeyId,
    pub(crate) destination_context: Context,
}

pub(crate) struct GenerateDataKey {
    pub(crate) length: DataKeyLength,
    pub(crate) context: Context,
}

const CONTEXT: &str = "encryption-context";

pub(crate) fn create_key(body: &[u8]) -> Result<CreateKey, BadBody> {
    read(body, &["name", "description", "usage", "multi-zone"], |fields, faults| {
        let name = fields.required("name", parsed, faults);
        let description = fields.optional("description", parsed, faults);
        let usage = fields.optional("usage", word("encrypt-decrypt"), faults);
        let multi_zone = fields.optional("multi-zone", boolean, faults);
        usage?;
        let reach = if multi_zone?.unwrap_or(false) { Reach::MultiZone } else { Reach::SingleZone };
        Some(CreateKey { name: name?, description: description?.unwrap_or_default(), reach })
    })
}

/// The body of an operation without members. The first version of the API repeated the path's id in it.
pub(crate) fn nothing(body: &[u8], key: KeyId) -> Result<(), BadBody> {
    read(body, &["id"], |fields, faults| fields.optional("id", path_id(key), faults).map(|_| ()))
}

pub(crate) fn enable_rotation(body: &[u8], key: KeyId) -> Result<Command, BadBody> {
    read(body, &["id", "rotation-period"], |fields, faults| {
        let id = fields.optional("id", path_id(key), faults);
        let period = fields.optional("rotation-period", number, faults);
        id?;
        Some(Command::EnableRotation { period: period?.unwrap_or_default() })
    })
}

pub(crate) fn schedule_deletion(body: &[u8]) -> Result<Command, BadBody> {
    read(body, &["delay-days"], |fields, faults| {
        let delay = fields.optional("delay-days", number, faults)?;
        Some(Command::ScheduleDeletion { delay: delay.unwrap_or_default() })
    })
}

pub(crate) fn replicate(body: &[u8]) -> Result<ZoneName, BadBody> {
    read(body, &["zone"], |fields, faults| fields.required("zone", parsed, faults))
}

pub(crate) fn encrypt(body: &[u8], limits: &RequestLimits) -> Result<Message, BadBody> {
    plain_message(body, "plaintext", limits.plaintext, limits)
        .map_or_else(|| carefully_read(body, "plaintext", limits.plaintext, limits), Ok)
}

pub(crate) fn decrypt(body: &[u8], limits: &RequestLimits) -> Result<Message, BadBody> {
    let limit = limits.ciphertext();
    plain_message(body, "ciphertext", limit, limits)
        .map_or_else(|| carefully_read(body, "ciphertext", limit, limits), Ok)
}

pub(crate) fn re_encrypt(body: &[u8], key: KeyId, limits: &RequestLimits) -> Result<ReEncrypt, BadBody> {
    read(body, &["source", "destination"], |fields, faults| {
        let source = fields.object(
            "source",
            &["key", "ciphertext", CONTEXT],
            |source, faults| {
                let id = source.required("key", path_id(key), faults);
                let message = message(source, "ciphertext", limits.ciphertext(), limits, faults);
                id.and(message)
            },
            faults,
        );
        let destination = fields.object(
            "destination",
            &["key", CONTEXT],
            |destination, faults| {
                let key = destination.required("key", parsed, faults);
                let context = context(destination, limits, faults);
                key.zip(context)
            },
            faults,
        );
        let (destination_key, destination_context) = destination?;
        Some(ReEncrypt { source: source?, destination_key, destination_context })
    })
}

/// Without `key-spec` and `bytes-count` a data key has 32 bytes, as with the one `key-spec` there is.
pub(crate) fn generate_data_key(body: &[u8], limits: &RequestLimits) -> Result<GenerateDataKey, BadBody> {
    read(body, &["key-spec", "bytes-count", CONTEXT], |fields, faults| {
        let spec = fields.optional("key-spec", word("AES-256"), faults);
        let count = fields.optional("bytes-count", number::<DataKeyLength>, faults);
        let differ = matches!((spec, count), (Some(Some(())), Some(Some(count))) if count != DataKeyLength::DEFAULT);
        let count = match differ {
            true => fields.note("bytes-count", "must be 32 when key-spec is AES-256", faults),
            false => count,
        };
        let context = context(fields, limits, faults);
        spec?;
        Some(GenerateDataKey { length: count?.unwrap_or_default(), context: context? })
    })
}

/// The message of a body as every client writes it. `None` says nothing about the body: it is read with care then.
fn plain_message(body: &[u8], member: &str, limit: usize, limits: &RequestLimits) -> Option<Message> {
    let [data, context] = plain_object::string_members(body, [member, CONTEXT])?;
    let decoded = |text, limit| base64_text::decode(text).filter(|bytes| bytes.len() <= limit);
    let context = match context {
        None => None,
        Some(text) => Some(decoded(text, limits.context)?),
    };
    Some(Message { data: decoded(data?, limit)?, context: Context(context) })
}

fn carefully_read(body: &[u8], member: &'static str, limit: usize, limits: &RequestLimits) -> Result<Message, BadBody> {
    read(body, &[member, CONTEXT], |fields, faults| message(fields, member, limit, limits, faults))
}

fn message(
    fields: &Fields<'_>,
    member: &'static str,
    limit: usize,
    limits: &RequestLimits,
    faults: &mut Faults,
) -> Option<Message> {
    let data = fields.required(member, bytes(limit), faults);
    let context = context(fields, limits, faults);
    Some(Message { data: data?, context: context? })
}

fn context(fields: &Fields<'_>, limits: &RequestLimits, faults: &mut Faults) -> Option<Context> {
    fields.optional(CONTEXT, |value: &RawValue| bytes(limits.context)(value), faults).map(Context)
}

/// A request that `build` makes of the members of a body, if nothing is wrong with any of them.
fn read<T>(
    body: &[u8],
    known: &[&'static str],
    build: impl FnOnce(&Fields<'_>, &mut Faults) -> Option<T>,
) -> Result<T, BadBody> {
    let mut faults = Faults::default();
    let fields = Fields::of_body(body, known, &mut faults).map_err(BadBody::NoObject)?;
    match build(&fields, &mut faults) {
        Some(request) if faults.count() == 0 => Ok(request),
        Some(_) | None => Err(BadBody::Faults(faults)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ID: &str = "019eef19-73ef-7ce3-9ea1-fcaa367ebd8d";
    const OTHER: &str = "019eef19-73ef-7ce3-9ea1-fcaa367ebd8e";

    fn id() -> KeyId {
        ID.parse().unwrap()
    }

    fn faults<T>(result: Result<T, BadBody>) -> String {
        let faults = match result {
            Ok(_) => return "none".into(),
            Err(BadBody::NoObject(what)) => return format!("{what:?}"),
            Err(BadBody::Faults(faults)) => serde_json::to_value(faults.into_listed()).unwrap(),
        };
        let line = |fault: &serde_json::Value| {
            format!("{} {}", fault["path"].as_str().unwrap(), fault["detail"].as_str().unwrap())
        };
        faults.as_array().unwrap().iter().map(line).collect::<Vec<_>>().join("; ")
    }

    #[test]
    fn a_key_needs_only_a_name() {
        let request = create_key(br#"{"name":"k1","description":null,"usage":null,"multi-zone":null}"#).unwrap();
        assert_eq!((request.name.as_str(), request.description.as_str()), ("k1", ""));
        assert_eq!(request.reach, Reach::SingleZone);
        assert_eq!(create_key(br#"{"name":"k1","multi-zone":true}"#).unwrap().reach, Reach::MultiZone);
        assert_eq!(faults(create_key(b"")), "name is required");
        assert_eq!(
            faults(create_key(
                br#"{"multi-zone":"x","key-spec":"AES_256","usage":"sign-verify","description":1,"name":null}"#
            )),
            "key-spec is not known here; name must not be null; description must be a string; \
             usage does not have a value in the enumeration [\"encrypt-decrypt\"]; multi-zone must be a boolean"
        );
    }

    #[test]
    fn operations_without_members_take_the_id_of_the_path() {
        for body in ["", "{}", " {\n} ", r#"{"id":null}"#, &format!("{{\"id\":\"{ID}\"}}")] {
            assert_eq!(faults(nothing(body.as_bytes(), id())), "none", "{body}");
        }
        for other in [OTHER, &ID.to_uppercase(), "x", ""] {
            let body = format!("{{\"id\":\"{other}\"}}");
            assert_eq!(faults(nothing(body.as_bytes(), id())), "id must equal the id in the path");
            assert_eq!(faults(enable_rotation(body.as_bytes(), id())), "id must equal the id in the path");
        }
        assert_eq!(faults(nothing(br#"{"delay-days":7}"#, id())), "delay-days is not known here");
        assert_eq!(faults(schedule_deletion(format!("{{\"id\":\"{ID}\"}}").as_bytes())), "id is not known here");
    }

    #[test]
    fn numbers_have_defaults() {
        let period = |body: &str| match enable_rotation(body.as_bytes(), id()) {
            Ok(Command::EnableRotation { period }) => period.days(),
            other => panic!("{other:?}"),
        };
        assert_eq!((period(""), period("{\"rotation-period\":90}")), (365, 90));
        assert_eq!(
            faults(enable_rotation(b"{\"rotation-period\":89}", id())),
            "rotation-period must be between 90 and 2560 days"
        );
        let delay = |body: &str| match schedule_deletion(body.as_bytes()) {
            Ok(Command::ScheduleDeletion { delay }) => delay.days(),
            other => panic!("{other:?}"),
        };
        assert_eq!((delay("{\"delay-days\":null}"), delay("{\"delay-days\":7}")), (30, 7));
        assert_eq!(faults(replicate(b"{}")), "zone is required");
    }

    #[test]
    fn a_data_key_has_32_bytes_unless_only_a_count_is_given() {
        let length = |body: &str| {
            generate_data_key(body.as_bytes(), &RequestLimits::default()).map(|request| request.length.bytes())
        };
        assert_eq!(length("").unwrap(), 32);
        assert_eq!(length(r#"{"key-spec":"AES-256"}"#).unwrap(), 32);
        assert_eq!(length(r#"{"bytes-count":64}"#).unwrap(), 64);
        assert_eq!(length(r#"{"bytes-count":32,"key-spec":"AES-256"}"#).unwrap(), 32);
        let both = length(r#"{"bytes-count":64,"key-spec":"AES-256"}"#);
        assert_eq!(faults(both), "bytes-count must be 32 when key-spec is AES-256");
        let neither = length(r#"{"bytes-count":0,"key-spec":"AES-128","encryption-context":7}"#);
        assert_eq!(
            faults(neither),
            "key-spec does not have a value in the enumeration [\"AES-256\"]; \
             bytes-count must be between 1 and 1024 bytes; encryption-context must be a string"
        );
    }

    #[test]
    fn contexts_that_say_nothing_are_none() {
        for context in ["", r#","encryption-context":null"#, r#","encryption-context":"""#] {
            let body = format!("{{\"plaintext\":\"\"{context}}}");
            let request = encrypt(body.as_bytes(), &RequestLimits::default()).unwrap();
            assert!(matches!(request.context.as_encryption_context(), EncryptionContext::None), "{context}");
        }
        let misspelt = br#"{"plaintext":"","encryption_context":"YQ=="}"#;
        assert_eq!(faults(encrypt(misspelt, &RequestLimits::default())), "encryption_context is not known here");
    }

    #[test]
    fn lengths_are_limited_to_the_byte() {
        let limits = RequestLimits { plaintext: 5, context: 2, ..RequestLimits::default() };
        let base64 = |length: usize| base64_text::encode(&vec![0; length]);
        let body = |plaintext, context| {
            format!("{{\"plaintext\":\"{}\",\"encryption-context\":\"{}\"}}", base64(plaintext), base64(context))
        };
        assert!(encrypt(body(5, 2).as_bytes(), &limits).is_ok());
        assert_eq!(
            faults(encrypt(body(6, 3).as_bytes(), &limits)),
            "plaintext must be at most 5 bytes; encryption-context must be at most 2 bytes"
        );
        let ciphertext = |length| format!("{{\"ciphertext\":\"{}\"}}", base64(length));
        assert!(decrypt(ciphertext(66).as_bytes(), &limits).is_ok());
        assert_eq!(faults(decrypt(ciphertext(67).as_bytes(), &limits)), "ciphertext must be at most 66 bytes");
    }

    #[test]
    fn re_encrypt_tells_the_faults_of_both_sides() {
        let limits = RequestLimits::default();
        let good = format!(r#"{{"destination":{{"key":"{OTHER}"}},"source":{{"ciphertext":"YQ==","key":"{ID}"}}}}"#);
        let request = re_encrypt(good.as_bytes(), id(), &limits).unwrap();
        assert_eq!(request.destination_key.to_string(), OTHER);
        assert_eq!(faults(re_encrypt(b"", id(), &limits)), "source is required; destination is required");
        let bad = format!(
            r#"{{"source":{{"key":"{OTHER}","x":1}},"destination":{{"key":"k2","encryption-context":[]}},"y":1}}"#
        );
        assert_eq!(
            faults(re_encrypt(bad.as_bytes(), id(), &limits)),
            "y is not known here; source.x is not known here; source.key must equal the id in the path; \
             source.ciphertext is required; destination.key must be a UUID in lower case with hyphens; \
             destination.encryption-context must be a string"
        );
    }

    #[test]
    fn the_body_limit_leaves_room_for_the_largest_request() {
        let limits = RequestLimits::default();
        let base64 = |length: usize| base64_text::encode(&vec![0xff; length]);
        let (ciphertext, context) = (base64(limits.ciphertext()), base64(limits.context));
        let body = format!(
            r#"{{"source": {{"key": "{ID}", "ciphertext": "{ciphertext}", "encryption-context": "{context}"}}, "destination": {{"key": "{OTHER}", "encryption-context": "{context}"}}}}"#
        );
        assert!(re_encrypt(body.as_bytes(), id(), &limits).is_ok());
        assert!(body.len() + 4096 < limits.body_limit());
        // A name and a description at their limits, with every character written as two escapes.
        assert!((255 + 1024) * 12 + 200 < limits.body_limit());
    }

    proptest! {
        /// What the quick reader takes, the careful one takes and reads the same.
        #[test]
        fn the_quick_reader_takes_nothing_that_the_careful_one_refuses(
            members in proptest::collection::vec((
                prop_oneof![Just("plaintext"), Just("encryption-context"), Just("ciphertext"), Just("plaintex\\u0074")],
                prop_oneof!["\"[A-Za-z0-9+/]{0,8}={0,2}\"", "\"(QUJD){0,3}(QUI=|QQ==|)\"", Just("null".to_owned()),
                    Just("7".to_owned()), Just("\"QU\\/D\"".to_owned()), Just("\"é\"".to_owned()), "[\\[\\]{}\",:]{0,3}"],
            ), 0..4),
            blank in prop_oneof![Just(""), Just(" "), Just("\n\t"), Just("\u{b}")],
            ends in prop_oneof![Just(("{", "}")), Just(("{", "")), Just(("{", ",}")), Just(("[", "]")), Just(("{", "}}"))],
        ) {
            let limits = RequestLimits { plaintext: 6, context: 4, ..RequestLimits::default() };
            let member = |(name, value): &(&str, String)| format!("{blank}\"{name}\"{blank}:{blank}{value}{blank}");
            let members = members.iter().map(member).collect::<Vec<_>>().join(",");
            let body = format!("{blank}{}{members}{}{blank}", ends.0, ends.1);
            if let Some(quick) = plain_message(body.as_bytes(), "plaintext", limits.plaintext, &limits) {
                let careful = carefully_read(body.as_bytes(), "plaintext", limits.plaintext, &limits);
                let careful = careful.unwrap_or_else(|bad| panic!("{body}: {bad:?}"));
                prop_assert_eq!(quick.data.expose(), careful.data.expose());
                let said = |context: &Context| context.0.as_ref().map_or(Vec::new(), |bytes| bytes.expose().to_vec());
                prop_assert_eq!(said(&quick.context), said(&careful.context));
            }
        }
    }

    #[test]
    fn what_clients_write_is_read_quickly() {
        let limits = RequestLimits::default();
        for body in [
            r#"{"plaintext":"QUJD"}"#,
            r#"{"plaintext":"","encryption-context":""}"#,
            "{ \"encryption-context\" : \"QQ==\",\r\n\t\"plaintext\": \"QUJD\" }\n",
        ] {
            assert!(plain_message(body.as_bytes(), "plaintext", limits.plaintext, &limits).is_some(), "{body}");
        }
    }
}
