//! The exact bytes of a problem document, built from what a reader of the API's description expects.

use serde_json::json;

/// One fault of one body member.
#[derive(Clone, Debug)]
pub struct Fault {
    /// The member's names from the outside in.
    pub path: Vec<String>,
    /// What is wrong, reading after the member's name.
    pub detail: String,
}

impl Fault {
    /// A fault of the member reached by `path`, names separated by dots.
    #[must_use]
    pub fn at(path: &str, detail: &str) -> Self {
        Self { path: path.split('.').map(str::to_owned).collect(), detail: detail.to_owned() }
    }

    fn document(&self) -> String {
        let location = self.path.iter().fold("$".to_owned(), |text, name| format!("{text}['{name}']"));
        let pointer = self.path.iter().fold(String::new(), |text, name| format!("{text}/{name}"));
        format!(
            r#"{{"location":{},"path":{},"pointer":{},"detail":{}}}"#,
            json!(location),
            json!(self.path.join(".")),
            json!(pointer),
            json!(self.detail)
        )
    }
}

/// The problem document with this status, title and detail and these faults, member for member in the order that is
/// promised.
#[must_use]
pub fn document(status: u16, title: &str, detail: &str, faults: &[Fault]) -> String {
    let slug = title.to_lowercase().replace(' ', "-");
    let errors = if faults.is_empty() {
        String::new()
    } else {
        let list: Vec<String> = faults.iter().map(Fault::document).collect();
        format!(r#""errors":[{}],"#, list.join(","))
    };
    format!(
        r#"{{"type":"urn:zonekms:problem:{slug}","title":{},"status":{status},"detail":{},{errors}"message":{}}}"#,
        json!(title),
        json!(detail),
        json!(detail)
    )
}

/// The document that answers a body with these faults.
#[must_use]
pub fn faults_document(faults: &[Fault]) -> String {
    let detail = match faults.len() {
        1 => "the request body has 1 fault".to_owned(),
        many => format!("the request body has {many} faults"),
    };
    document(400, "Bad Request", &detail, faults)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nested_member() {
        assert_eq!(
            faults_document(&[Fault::at("source.ciphertext", "is required")]),
            concat!(
                r#"{"type":"urn:zonekms:problem:bad-request","title":"Bad Request","status":400,"#,
                r#""detail":"the request body has 1 fault","errors":[{"location":"$['source']['ciphertext']","#,
                r#""path":"source.ciphertext","pointer":"/source/ciphertext","detail":"is required"}],"#,
                r#""message":"the request body has 1 fault"}"#
            )
        );
    }
}
