//! Signed evidence: a DSSE envelope around an in-toto statement over a record, so that whoever holds the public key
//! can tell years later that this is the record of that drill. It is made when everything has been torn down and the
//! record is written for the last time.
//!
//! The statement's predicate is in-toto's own for test results; any tool that reads DSSE can verify it.
//! Not here: which drills passed (see [`crate::record`]), or whether a signature is asked for (see [`crate::gate`]).

use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::pkcs8::{DecodePrivateKey as _, DecodePublicKey as _};
use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::error::{Doing, Error, Result};
use crate::exit::Exit;
use crate::record::{Record, Verdict, write_atomically};
use crate::sha256;

/// The name of the envelope beside a record.
pub const ENVELOPE: &str = "evidence.dsse.json";

const PAYLOAD_TYPE: &str = "application/vnd.in-toto+json";
const STATEMENT: &str = "https://in-toto.io/Statement/v1";
const PREDICATE: &str = "https://in-toto.io/attestation/test-result/v0.1";
/// How to make a pair of keys.
const MAKE: &str = "make a pair of keys with: openssl genpkey -algorithm ed25519 -out key.pem && openssl pkey -in key.pem -pubout -out key.pub";

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Envelope {
    payload: String,
    payload_type: String,
    signatures: Vec<Signed>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Signed {
    keyid: String,
    sig: String,
}

/// What a verified envelope says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// SHA-256 of the record.
    pub record_sha256: String,
    /// `PASSED`, `WARNED` or `FAILED`.
    pub result: String,
    /// The key that signed it: SHA-256 of its bytes.
    pub key: String,
}

/// A private key to sign with.
pub struct Key(SigningKey);

impl Key {
    /// Reads a private key: ed25519, PKCS #8, PEM.
    pub fn read(path: &Path) -> Result<Self> {
        let what = || format!("read the key {}", path.display());
        let text = std::fs::read_to_string(path)
            .map_err(|error| Error::usage(error.to_string()))
            .doing_with(what)?;
        let key = SigningKey::from_pkcs8_pem(&text).map_err(|error| {
            Error::usage(format!("not an ed25519 private key in PEM: {error}")).hint(MAKE)
        });
        Ok(Self(key.doing_with(what)?))
    }
}

/// Signs the record at `path`; returns the path of the envelope beside it.
pub fn sign(path: &Path, key: &Key) -> Result<PathBuf> {
    let (record, bytes) = Record::read_with_bytes(path)?;
    let payload = statement(&record, &bytes).to_string();
    let signature = key.0.sign(&pae(payload.as_bytes()));
    let envelope = Envelope {
        payload: STANDARD.encode(&payload),
        payload_type: PAYLOAD_TYPE.to_owned(),
        signatures: vec![Signed {
            keyid: id(&key.0.verifying_key()),
            sig: STANDARD.encode(signature.to_bytes()),
        }],
    };
    let mut text = serde_json::to_string_pretty(&envelope).doing("write the envelope as JSON")?;
    text.push('\n');
    let target = path.with_file_name(ENVELOPE);
    write_atomically(&target, text.as_bytes())
        .doing_with(|| format!("write the evidence {}", target.display()))?;
    Ok(target)
}

/// Verifies that the record at `path` is the one that the holder of the key's private half signed.
pub fn verify(path: &Path, key: &Path) -> Result<Verified> {
    let public = public_key(key)?;
    let target = path.with_file_name(ENVELOPE);
    let envelope = envelope(&target).doing_with(|| format!("verify {}", target.display()))?;
    let bad = |why: &str| {
        Error::failed(why)
            .hint("the record or its evidence was changed after it was signed, or another key signed it")
            .doing(format!("verify {}", target.display()))
    };
    let payload = STANDARD
        .decode(&envelope.payload)
        .map_err(|_| bad("its payload is not base64"))?;
    if envelope.payload_type != PAYLOAD_TYPE {
        return Err(bad("it is no in-toto statement"));
    }
    let signed = pae(&payload);
    let holds = envelope.signatures.iter().any(|it| {
        let bytes = STANDARD.decode(&it.sig).unwrap_or_default();
        let signature = Signature::from_slice(&bytes);
        signature.is_ok_and(|signature| public.verify_strict(&signed, &signature).is_ok())
    });
    if !holds {
        return Err(bad("no signature in it is by this key"));
    }
    let statement: Value =
        serde_json::from_slice(&payload).map_err(|_| bad("its payload is not JSON"))?;
    let (record, bytes) = Record::read_with_bytes(path)?;
    let digest = sha256::hex_of(&bytes);
    let subject = &statement["subject"][0]["digest"]["sha256"];
    if statement["_type"] != STATEMENT || statement["predicateType"] != PREDICATE {
        return Err(bad("it is no statement about a test result"));
    }
    if subject.as_str() != Some(digest.as_str()) {
        return Err(bad("it was made over another record"));
    }
    let result = result(&record);
    if statement["predicate"]["result"].as_str() != Some(result) {
        return Err(bad("it tells another result than the record"));
    }
    Ok(Verified {
        record_sha256: digest,
        result: result.to_owned(),
        key: id(&public),
    })
}

fn public_key(path: &Path) -> Result<VerifyingKey> {
    let what = || format!("read the public key {}", path.display());
    let text = std::fs::read_to_string(path)
        .map_err(|error| Error::usage(error.to_string()))
        .doing_with(what)?;
    VerifyingKey::from_public_key_pem(&text)
        .map_err(|error| {
            Error::usage(format!("not an ed25519 public key in PEM: {error}")).hint(MAKE)
        })
        .doing_with(what)
}

fn envelope(path: &Path) -> Result<Envelope> {
    let text = std::fs::read_to_string(path).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => {
            Error::failed("the record is not signed").hint("drill again with --sign KEY")
        }
        _ => Error::failed(error.to_string()),
    })?;
    serde_json::from_str(&text).doing("read the envelope")
}

/// What is stated about a record.
fn statement(record: &Record, bytes: &[u8]) -> Value {
    let lines = record.lines();
    let of = |wanted: fn(Option<Verdict>) -> bool| -> Vec<String> {
        let named = lines.iter().filter(|line| wanted(line.verdict));
        named
            .map(|line| format!("{} of {}", line.name, line.drill))
            .collect()
    };
    let suites: Vec<Value> = record
        .suites
        .iter()
        .map(|suite| json!({ "name": suite.name, "digest": { "sha256": suite.sha256 } }))
        .collect();
    let mut subject =
        vec![json!({ "name": "record.json", "digest": { "sha256": sha256::hex_of(bytes) } })];
    if let Some(commit) = &record.origin.commit {
        subject.push(json!({ "name": "commit", "digest": { "gitCommit": commit } }));
    }
    json!({
        "_type": STATEMENT,
        "subject": subject,
        "predicateType": PREDICATE,
        "predicate": {
            "result": result(record),
            "configuration": suites,
            "passedTests": of(|verdict| verdict == Some(Verdict::Passed)),
            "warnedTests": of(|verdict| matches!(verdict, None | Some(Verdict::Undetermined))),
            "failedTests": of(|verdict| verdict == Some(Verdict::Failed)),
        },
    })
}

/// The result in the words of the predicate: what could not be established is a warning, never a pass.
fn result(record: &Record) -> &'static str {
    match record.exit() {
        Exit::Passed => "PASSED",
        Exit::Failed => "FAILED",
        _ => "WARNED",
    }
}

/// DSSE's encoding of what is signed, before it is signed.
fn pae(payload: &[u8]) -> Vec<u8> {
    let head = format!(
        "DSSEv1 {} {PAYLOAD_TYPE} {} ",
        PAYLOAD_TYPE.len(),
        payload.len()
    );
    [head.as_bytes(), payload].concat()
}

fn id(key: &VerifyingKey) -> String {
    sha256::hex_of(key.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::sample;

    const PRIVATE: &str = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC\n-----END PRIVATE KEY-----\n";
    const PUBLIC: &str = "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\n-----END PUBLIC KEY-----\n";

    fn signed() -> (tempfile::TempDir, PathBuf, PathBuf) {
        let dir = tempfile::tempdir().expect("a directory");
        let path = |name: &str| dir.path().join(name);
        std::fs::write(path("key.pem"), PRIVATE).expect("written");
        std::fs::write(path("key.pub"), PUBLIC).expect("written");
        sample::green()
            .write(&path("record.json"))
            .expect("written");
        let key = Key::read(&path("key.pem")).expect("a key");
        sign(&path("record.json"), &key).expect("signed");
        let (record, key) = (path("record.json"), path("key.pub"));
        (dir, record, key)
    }

    #[test]
    fn what_was_signed_verifies_and_tells_its_result() {
        let (_dir, record, key) = signed();
        let verified = verify(&record, &key).expect("holds");
        assert_eq!(verified.result, "PASSED");
    }

    #[test]
    fn a_changed_record_a_changed_envelope_another_key_and_no_envelope_do_not_verify() {
        let (dir, record, key) = signed();
        let text = std::fs::read_to_string(&record).expect("read");
        std::fs::write(&record, text.replace("runner", "other")).expect("written");
        let error = verify(&record, &key).expect_err("changed");
        assert!(error.message().contains("another record"), "{error}");
        std::fs::write(&record, text).expect("written");

        let envelope = dir.path().join(ENVELOPE);
        let sealed = std::fs::read_to_string(&envelope).expect("read");
        let mut changed: Envelope = serde_json::from_str(&sealed).expect("an envelope");
        let payload = STANDARD.decode(&changed.payload).expect("base64");
        let payload = String::from_utf8(payload).expect("text");
        changed.payload = STANDARD.encode(payload.replace("PASSED", "FAILED"));
        std::fs::write(&envelope, serde_json::to_string(&changed).expect("json")).expect("written");
        let error = verify(&record, &key).expect_err("changed");
        assert!(error.message().contains("by this key"), "{error}");
        std::fs::write(&envelope, sealed).expect("written");

        std::fs::write(&key, PUBLIC.replace("Gb9ECW", "Gb9ECX")).expect("written");
        verify(&record, &key).expect_err("another key");
        std::fs::write(&key, PUBLIC).expect("written");
        verify(&record, &key).expect("holds again");

        std::fs::remove_file(&envelope).expect("removed");
        let error = verify(&record, &key).expect_err("no envelope");
        assert!(error.message().contains("not signed"), "{error}");
    }

    #[test]
    fn what_is_signed_is_encoded_as_dsse_says() {
        assert_eq!(
            pae(b"hello world"),
            b"DSSEv1 28 application/vnd.in-toto+json 11 hello world"
        );
    }
}
