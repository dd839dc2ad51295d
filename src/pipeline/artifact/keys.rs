//! The keys of a run. Not here: encrypting and decrypting with them (see [`crate::pipeline::stream`]).

use age::secrecy::ExposeSecret;
use age::x25519::{Identity, Recipient};

use crate::context::Context;

/// The keys of a run: what artifacts are encrypted to, and what opens them.
#[derive(Clone)]
pub struct Keys {
    pub(super) recipient: Recipient,
    pub(super) identity: Option<Identity>,
    /// What a tool of its own encrypted with, where that is somebody else's word.
    passphrase: Option<String>,
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let identity = if self.identity.is_some() {
            "with"
        } else {
            "without"
        };
        write!(f, "{} {identity} its identity", self.recipient)
    }
}

impl Keys {
    /// A fresh key pair; the identity is registered as a secret of the run.
    pub fn generate(ctx: &Context) -> Self {
        let identity = Identity::generate();
        let text = identity.to_string();
        ctx.secrets.register("age identity", text.expose_secret());
        Self {
            recipient: identity.to_public(),
            identity: Some(identity),
            passphrase: None,
        }
    }

    /// What opens a repository that somebody else's tool encrypted.
    pub fn of_passphrase(ctx: &Context, passphrase: &str) -> Self {
        ctx.secrets.register("passphrase", passphrase);
        Self {
            passphrase: Some(passphrase.to_owned()),
            ..Self::generate(ctx)
        }
    }

    /// The recipient as text (`age1…`).
    pub fn recipient(&self) -> String {
        self.recipient.to_string()
    }

    /// A passphrase for tools that encrypt by themselves: the one that was given, or the identity's own text; `None` without
    /// either.
    pub fn passphrase(&self) -> Option<String> {
        if let Some(passphrase) = &self.passphrase {
            return Some(passphrase.clone());
        }
        let identity = self.identity.as_ref()?.to_string();
        Some(identity.expose_secret().to_owned())
    }

    /// The same recipient with another pair's identity, or with none: what must not open anything.
    #[must_use]
    pub fn with_identity_of(&self, other: Option<&Self>) -> Self {
        Self {
            recipient: self.recipient.clone(),
            identity: other.and_then(|other| other.identity.clone()),
            passphrase: other.and_then(|other| other.passphrase.clone()),
        }
    }
}
