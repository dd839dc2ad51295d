//! An e-mail over SMTP. The address holds everything: `smtps://user:password@host` or `smtp://host?tls=required`.

use std::time::{Duration, Instant};

use lettre::message::Mailbox;
use lettre::message::header::ContentType;
use lettre::{Message, SmtpTransport, Transport as _};

use super::message::Mail;
use super::{Trouble, persist};

pub(super) fn deliver(
    url: &str,
    from: &str,
    to: &[String],
    mail: &Mail,
    until: Instant,
) -> Result<(), String> {
    let message = message(from, to, mail)?;
    persist(until, |left| once(url, &message, left))
}

fn message(from: &str, to: &[String], mail: &Mail) -> Result<Message, String> {
    let mailbox = |address: &str| -> Result<Mailbox, String> {
        address
            .parse()
            .map_err(|_| format!("{address:?} is not an e-mail address"))
    };
    let mut builder = Message::builder()
        .from(mailbox(from)?)
        .subject(mail.subject.clone());
    for address in to {
        builder = builder.to(mailbox(address)?);
    }
    // It has signs that are not ASCII.
    builder
        .header(ContentType::TEXT_PLAIN)
        .body(mail.body.clone())
        .map_err(|error| format!("the message cannot be made: {error}"))
}

fn once(url: &str, message: &Message, left: Duration) -> Result<(), Trouble> {
    let transport = SmtpTransport::from_url(url)
        .map_err(|_| {
            Trouble::Lasting("the address is not one such as smtps://user:password@host".to_owned())
        })?
        .timeout(Some(left))
        .build();
    match transport.send(message) {
        Ok(_) => Ok(()),
        Err(error) if error.is_permanent() => Err(Trouble::Lasting(said(&error, url))),
        Err(error) => Err(Trouble::Passing(said(&error, url))),
    }
}

fn said(error: &lettre::transport::smtp::Error, url: &str) -> String {
    crate::error::chain(error).replace(url, "the address")
}
