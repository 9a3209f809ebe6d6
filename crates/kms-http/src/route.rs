//! Which operation a method and a raw path name.
//!
//! Pure, and on raw segments: nothing is percent-decoded, so that the path that was signed is the path that is routed. An id
//! is a canonical UUID or no key's.

use crate::finished::OperationId;
use http::Method;
use kms_types::KeyId;

/// An operation of the API, with the key that its path names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Route {
    ListZones,
    GetOperation(OperationId),
    ListKeys,
    CreateKey,
    Key(KeyId, KeyOperation),
}

/// An operation on one key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum KeyOperation {
    Get,
    ListRotations,
    Enable,
    Disable,
    Rotate,
    EnableRotation,
    DisableRotation,
    ScheduleDeletion,
    CancelDeletion,
    Replicate,
    Encrypt,
    Decrypt,
    ReEncrypt,
    GenerateDataKey,
}

/// Why a request names no operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoRoute {
    /// No such path.
    NotFound,
    /// The path is there, but not with this method.
    WrongMethod {
        /// The methods that the path has, for the `Allow` header.
        allow: &'static str,
    },
    /// The path's key id is not one.
    NoSuchKey,
    /// The path's operation id is not one.
    NoSuchOperation,
}

impl Route {
    /// The operation of `method` and the raw `path`. `/v2` in front may be left out; repeated slashes count as one, as clients
    /// produce them when their endpoint ends in a slash.
    pub(crate) fn find(method: &Method, path: &str) -> Result<Self, NoRoute> {
        if path.ends_with('/') {
            return Err(NoRoute::NotFound);
        }
        let mut rest = path;
        let mut next = || segment(&mut rest);
        let first = match next() {
            Some("v2") => next(),
            other => other,
        };
        match (first, next(), next(), next()) {
            (Some("zone"), None, None, None) => only(method, &Method::GET, "GET").map(|()| Self::ListZones),
            (Some("operation"), Some(id), None, None) => {
                only(method, &Method::GET, "GET")?;
                Ok(Self::GetOperation(id.parse().map_err(|_| NoRoute::NoSuchOperation)?))
            }
            (Some("kms-key"), None, None, None) => match *method {
                Method::GET => Ok(Self::ListKeys),
                Method::POST => Ok(Self::CreateKey),
                _ => Err(NoRoute::WrongMethod { allow: "GET, POST" }),
            },
            (Some("kms-key"), Some(id), action, None) => {
                let operation = KeyOperation::named(action).ok_or(NoRoute::NotFound)?;
                let (wanted, allow) = operation.method();
                only(method, &wanted, allow)?;
                Ok(Self::Key(id.parse().map_err(|_| NoRoute::NoSuchKey)?, operation))
            }
            _ => Err(NoRoute::NotFound),
        }
    }

    /// Which operation it is, whatever it is done on.
    pub(crate) const fn operation(self) -> Operation {
        match self {
            Self::ListZones => Operation::ListZones,
            Self::GetOperation(_) => Operation::GetFinished,
            Self::ListKeys => Operation::ListKeys,
            Self::CreateKey => Operation::CreateKey,
            Self::Key(_, operation) => Operation::OnKey(operation),
        }
    }
}

/// What is counted and logged apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    /// The request names none, or was refused before it was looked at.
    None,
    ListZones,
    /// `get-operation`, which only finds finished ones.
    GetFinished,
    ListKeys,
    CreateKey,
    OnKey(KeyOperation),
}

impl Operation {
    /// How many there are.
    pub(crate) const COUNT: usize = Self::BESIDE_KEYS.len() + KeyOperation::ALL.len();

    const BESIDE_KEYS: [Self; 5] = [Self::None, Self::ListZones, Self::GetFinished, Self::ListKeys, Self::CreateKey];

    /// Each of them, in the order of their indices.
    pub(crate) fn all() -> impl Iterator<Item = Self> {
        Self::BESIDE_KEYS.into_iter().chain(KeyOperation::ALL.map(Self::OnKey))
    }

    /// A number of its own below [`Operation::COUNT`].
    pub(crate) const fn index(self) -> usize {
        match self {
            Self::None => 0,
            Self::ListZones => 1,
            Self::GetFinished => 2,
            Self::ListKeys => 3,
            Self::CreateKey => 4,
            Self::OnKey(operation) => Self::BESIDE_KEYS.len() + operation as usize,
        }
    }

    /// Whether it does something with a key's material and changes nothing.
    pub(crate) const fn is_crypto_call(self) -> bool {
        match self {
            Self::OnKey(operation) => match operation {
                KeyOperation::Encrypt
                | KeyOperation::Decrypt
                | KeyOperation::ReEncrypt
                | KeyOperation::GenerateDataKey => true,
                KeyOperation::Get
                | KeyOperation::ListRotations
                | KeyOperation::Enable
                | KeyOperation::Disable
                | KeyOperation::Rotate
                | KeyOperation::EnableRotation
                | KeyOperation::DisableRotation
                | KeyOperation::ScheduleDeletion
                | KeyOperation::CancelDeletion
                | KeyOperation::Replicate => false,
            },
            Self::None | Self::ListZones | Self::GetFinished | Self::ListKeys | Self::CreateKey => false,
        }
    }

    /// The name that logs and figures use, as in the API's operation ids.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::ListZones => "list-zones",
            Self::GetFinished => "get-operation",
            Self::ListKeys => "list-kms-keys",
            Self::CreateKey => "create-kms-key",
            Self::OnKey(operation) => operation.name(),
        }
    }
}

impl KeyOperation {
    /// Every one, in the order of the API's paths.
    pub(crate) const ALL: [Self; 14] = [
        Self::Get,
        Self::ListRotations,
        Self::Enable,
        Self::Disable,
        Self::Rotate,
        Self::EnableRotation,
        Self::DisableRotation,
        Self::ScheduleDeletion,
        Self::CancelDeletion,
        Self::Replicate,
        Self::Encrypt,
        Self::Decrypt,
        Self::ReEncrypt,
        Self::GenerateDataKey,
    ];

    /// The operation of a path that has `action` after the key's id. The other way round than [`KeyOperation::action`].
    fn named(action: Option<&str>) -> Option<Self> {
        Some(match action {
            None => Self::Get,
            Some("list-key-rotations") => Self::ListRotations,
            Some("enable") => Self::Enable,
            Some("disable") => Self::Disable,
            Some("rotate") => Self::Rotate,
            Some("enable-key-rotation") => Self::EnableRotation,
            Some("disable-key-rotation") => Self::DisableRotation,
            Some("schedule-deletion") => Self::ScheduleDeletion,
            Some("cancel-deletion") => Self::CancelDeletion,
            Some("replicate") => Self::Replicate,
            Some("encrypt") => Self::Encrypt,
            Some("decrypt") => Self::Decrypt,
            Some("re-encrypt") => Self::ReEncrypt,
            Some("generate-data-key") => Self::GenerateDataKey,
            Some(_) => return None,
        })
    }

    /// What the path has after the key's id.
    pub(crate) const fn action(self) -> Option<&'static str> {
        Some(match self {
            Self::Get => return None,
            Self::ListRotations => "list-key-rotations",
            Self::Enable => "enable",
            Self::Disable => "disable",
            Self::Rotate => "rotate",
            Self::EnableRotation => "enable-key-rotation",
            Self::DisableRotation => "disable-key-rotation",
            Self::ScheduleDeletion => "schedule-deletion",
            Self::CancelDeletion => "cancel-deletion",
            Self::Replicate => "replicate",
            Self::Encrypt => "encrypt",
            Self::Decrypt => "decrypt",
            Self::ReEncrypt => "re-encrypt",
            Self::GenerateDataKey => "generate-data-key",
        })
    }

    const fn method(self) -> (Method, &'static str) {
        match self {
            Self::Get | Self::ListRotations => (Method::GET, "GET"),
            Self::Enable
            | Self::Disable
            | Self::Rotate
            | Self::EnableRotation
            | Self::DisableRotation
            | Self::ScheduleDeletion
            | Self::CancelDeletion
            | Self::Replicate
            | Self::Encrypt
            | Self::Decrypt
            | Self::ReEncrypt
            | Self::GenerateDataKey => (Method::POST, "POST"),
        }
    }

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Get => "get-kms-key",
            Self::ListRotations => "list-kms-key-rotations",
            Self::Enable => "enable-kms-key",
            Self::Disable => "disable-kms-key",
            Self::Rotate => "rotate-kms-key",
            Self::EnableRotation => "enable-kms-key-rotation",
            Self::DisableRotation => "disable-kms-key-rotation",
            Self::ScheduleDeletion => "schedule-kms-key-deletion",
            Self::CancelDeletion => "cancel-kms-key-deletion",
            Self::Replicate => "replicate-kms-key",
            Self::Encrypt => "encrypt",
            Self::Decrypt => "decrypt",
            Self::ReEncrypt => "re-encrypt",
            Self::GenerateDataKey => "generate-data-key",
        }
    }
}

/// Takes the next segment that is not empty off a path.
fn segment<'a>(path: &mut &'a str) -> Option<&'a str> {
    let rest = path.trim_start_matches('/');
    let end = rest.bytes().position(|byte| byte == b'/').unwrap_or(rest.len());
    let (segment, behind) = rest.split_at(end);
    *path = behind;
    (!segment.is_empty()).then_some(segment)
}

fn only(method: &Method, wanted: &Method, allow: &'static str) -> Result<(), NoRoute> {
    if method == wanted { Ok(()) } else { Err(NoRoute::WrongMethod { allow }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "019eef19-73ef-7ce3-9ea1-fcaa367ebd8d";

    #[test]
    fn actions_and_operations_name_each_other() {
        for operation in KeyOperation::ALL {
            assert_eq!(KeyOperation::named(operation.action()), Some(operation));
        }
        assert_eq!(KeyOperation::named(Some("get")), None);
    }

    #[test]
    fn operations_are_numbered_in_their_order() {
        let indices: Vec<usize> = Operation::all().map(Operation::index).collect();
        assert_eq!(indices, (0..Operation::COUNT).collect::<Vec<_>>());
    }

    #[test]
    fn the_sixteen_operations_and_the_two_beside_them() {
        let id = ID.parse().unwrap();
        let key = |operation| Route::Key(id, operation);
        let table = [
            ("GET", "/v2/zone".to_owned(), Route::ListZones),
            ("GET", format!("/v2/operation/{ID}"), Route::GetOperation(ID.parse().unwrap())),
            ("GET", "/v2/kms-key".to_owned(), Route::ListKeys),
            ("POST", "/v2/kms-key".to_owned(), Route::CreateKey),
            ("GET", format!("/v2/kms-key/{ID}"), key(KeyOperation::Get)),
            ("GET", format!("/v2/kms-key/{ID}/list-key-rotations"), key(KeyOperation::ListRotations)),
            ("POST", format!("/v2/kms-key/{ID}/enable"), key(KeyOperation::Enable)),
            ("POST", format!("/v2/kms-key/{ID}/disable"), key(KeyOperation::Disable)),
            ("POST", format!("/v2/kms-key/{ID}/rotate"), key(KeyOperation::Rotate)),
            ("POST", format!("/v2/kms-key/{ID}/enable-key-rotation"), key(KeyOperation::EnableRotation)),
            ("POST", format!("/v2/kms-key/{ID}/disable-key-rotation"), key(KeyOperation::DisableRotation)),
            ("POST", format!("/v2/kms-key/{ID}/schedule-deletion"), key(KeyOperation::ScheduleDeletion)),
            ("POST", format!("/v2/kms-key/{ID}/cancel-deletion"), key(KeyOperation::CancelDeletion)),
            ("POST", format!("/v2/kms-key/{ID}/replicate"), key(KeyOperation::Replicate)),
            ("POST", format!("/v2/kms-key/{ID}/encrypt"), key(KeyOperation::Encrypt)),
            ("POST", format!("/v2/kms-key/{ID}/decrypt"), key(KeyOperation::Decrypt)),
            ("POST", format!("/v2/kms-key/{ID}/re-encrypt"), key(KeyOperation::ReEncrypt)),
            ("POST", format!("/v2/kms-key/{ID}/generate-data-key"), key(KeyOperation::GenerateDataKey)),
        ];
        for (method, path, expected) in table {
            let method: Method = method.parse().unwrap();
            assert_eq!(Route::find(&method, &path), Ok(expected), "{method} {path}");
            let short = path.strip_prefix("/v2").unwrap();
            assert_eq!(Route::find(&method, short), Ok(expected), "{method} {short}");
            let doubled = path.replace('/', "//");
            assert_eq!(Route::find(&method, &doubled), Ok(expected), "{method} {doubled}");
            assert_eq!(Route::find(&method, &format!("{path}/")), Err(NoRoute::NotFound), "{method} {path}/");
            for other in ["PUT", "DELETE", "PATCH", "HEAD", "OPTIONS", "TRACE", "CONNECT", "get", "BREW"] {
                let other: Method = other.parse().unwrap();
                let found = Route::find(&other, &path);
                assert!(matches!(found, Err(NoRoute::WrongMethod { .. })), "{other} {path}: {found:?}");
            }
        }
    }

    #[test]
    fn the_allowed_methods_are_told() {
        let allow = |path: &str| match Route::find(&Method::DELETE, path) {
            Err(NoRoute::WrongMethod { allow }) => allow,
            other => panic!("{path}: {other:?}"),
        };
        assert_eq!(allow("/v2/kms-key"), "GET, POST");
        assert_eq!(allow("/v2/kms-key/x"), "GET");
        assert_eq!(allow("/v2/kms-key/x/encrypt"), "POST");
    }

    #[test]
    fn no_second_spelling_of_a_key_id_reaches_a_key() {
        for spelling in [
            "019EEF19-73EF-7CE3-9EA1-FCAA367EBD8D",
            "019eef1973ef7ce39ea1fcaa367ebd8d",
            "%30",
            "%3019eef19-73ef-7ce3-9ea1-fcaa367ebd8d",
            "{019eef19-73ef-7ce3-9ea1-fcaa367ebd8d}",
            "urn:uuid:019eef19-73ef-7ce3-9ea1-fcaa367ebd8d",
            "019eef19-73ef-7ce3-9ea1-fcaa367ebd8d;x",
            "..",
            ".",
            "%2e%2e",
            "k1",
            "%00",
        ] {
            assert_eq!(
                Route::find(&Method::GET, &format!("/v2/kms-key/{spelling}")),
                Err(NoRoute::NoSuchKey),
                "{spelling}"
            );
        }
    }

    #[test]
    fn other_paths_are_not_found() {
        for path in [
            "",
            "/",
            "//",
            "/v2",
            "/v2/",
            "/v1/zone",
            "/v2/v2/zone",
            "/V2/zone",
            "/v2/Zone",
            "/v2/zone/x",
            "/v2/operation",
            "/v2/%7Aone",
            "/v2/kms-key/x/y",
            "/v2/kms-key/x/encrypt/y",
            "/v2/./zone",
            "/v2/kms-key%2Fx",
            "*",
            "zone/",
        ] {
            assert_eq!(Route::find(&Method::GET, path), Err(NoRoute::NotFound), "{path}");
        }
    }
}
