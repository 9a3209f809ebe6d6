//! `zonekms key`: what operators want to know of the use of keys before they delete one, or call a rewrap done.

mod text;

use kms_types::KeyId;
use serde_json::{Value, json};

use crate::cli::{KeyReportArguments, KeyStatusArguments};
use crate::control::Target;
use crate::failure::Failure;
use crate::serve::runtime;

/// `zonekms key status`.
pub(crate) fn status(arguments: &KeyStatusArguments) -> Result<String, Failure> {
    let target = Target::find(&arguments.target)?;
    let told = runtime()?.block_on(async {
        let (mut client, zone) = target.connect().await?;
        client.get(&format!("{zone}/keys/{}", arguments.key)).await
    });
    let told = told.map_err(Failure::run)?;
    Ok(if arguments.json { json_text(&told) } else { text::of_key(&told) })
}

/// `zonekms key report`.
pub(crate) fn report(arguments: &KeyReportArguments) -> Result<String, Failure> {
    let target = Target::find(&arguments.target)?;
    let mut keys = Vec::new();
    let mut told = runtime()?
        .block_on(async {
            let (mut client, zone) = target.connect().await?;
            let mut asked = json!({ "old-versions": arguments.old_versions });
            if let Some(organisation) = &arguments.organisation {
                asked["organisation"] = organisation.as_str().into();
            }
            loop {
                let mut page = client.post(&format!("{zone}/keys/use"), &asked).await?;
                if let Value::Array(more) = page["keys"].take() {
                    keys.extend(more);
                }
                match keys.last().and_then(|last| last["key"].as_str()?.parse::<KeyId>().ok()) {
                    Some(last) if page["more"] == true => asked["after"] = last.to_string().into(),
                    Some(_) | None => return Ok(page),
                }
            }
        })
        .map_err(|fault: crate::control::ClientFault| Failure::run(fault))?;
    if arguments.json {
        told["keys"] = keys.into();
        if let Some(members) = told.as_object_mut() {
            members.remove("more");
        }
        return Ok(json_text(&told));
    }
    Ok(text::of_keys(&told, &keys, arguments.old_versions))
}

fn json_text(value: &Value) -> String {
    format!("{value:#}\n")
}
