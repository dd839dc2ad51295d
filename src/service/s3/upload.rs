//! Uploads of unknown length: in one request while they are small, else in parts, a few of them under way at once; a
//! broken one leaves no parts behind.

use base64::prelude::{BASE64_STANDARD, Engine as _};
use md5::{Digest as _, Md5};

use super::*;

/// Where an upload goes, and with what.
#[derive(Clone, Copy)]
struct To<'a> {
    bucket: &'a str,
    key: &'a str,
    headers: &'a Headers,
    /// What the server holds it to: `*`, that nothing is there.
    unless: Option<&'static str>,
}

impl S3Client {
    /// Stores a stream of unknown length, all or nothing: in one request below [`PART_BYTES`], else in parts, which
    /// are aborted on any error. Returns the bytes stored and the ETag, without quotes.
    pub async fn put(
        &self,
        ctx: &Context,
        bucket: &str,
        key: &str,
        body: Reading,
        headers: &Headers,
    ) -> Result<(u64, String)> {
        let to = To {
            bucket,
            key,
            headers,
            unless: None,
        };
        self.upload(ctx, to, body).await
    }

    /// The same, and refused where an object is there by then, by servers that know `If-None-Match`; by others it is replaced.
    pub async fn put_new(
        &self,
        ctx: &Context,
        bucket: &str,
        key: &str,
        body: Reading,
        headers: &Headers,
    ) -> Result<(u64, String)> {
        let to = To {
            bucket,
            key,
            headers,
            unless: Some("*"),
        };
        self.upload(ctx, to, body).await
    }

    async fn upload(&self, ctx: &Context, to: To<'_>, mut body: Reading) -> Result<(u64, String)> {
        let work = async {
            let first = until_cancelled(ctx, read_part(&mut body)).await??;
            if (first.len() as u64) < PART_BYTES {
                self.put_whole(ctx, to, first).await
            } else {
                self.put_parts(ctx, to, first, body).await
            }
        };
        work.await
            .doing_with(|| format!("store {} in bucket {}", to.key, to.bucket))
    }

    async fn put_whole(&self, ctx: &Context, to: To<'_>, body: Bytes) -> Result<(u64, String)> {
        let headers = to.headers;
        let bytes = body.len() as u64;
        let other = |name: &str| headers.others.get(name).cloned();
        let request = self
            .client
            .put_object()
            .bucket(to.bucket)
            .key(to.key)
            .set_if_none_match(to.unless.map(str::to_owned))
            .set_content_type(headers.content_type.clone())
            .set_cache_control(other("cache-control"))
            .set_content_disposition(other("content-disposition"))
            .set_content_encoding(other("content-encoding"))
            .set_content_language(other("content-language"))
            .set_metadata(Some(headers.metadata.clone().into_iter().collect()))
            .content_md5(md5(&body))
            .body(ByteStream::from(body))
            .customize()
            .disable_payload_signing();
        let answer = self.ask(ctx, request.send()).await?;
        Ok((bytes, unquoted(answer.e_tag())))
    }

    async fn put_parts(
        &self,
        ctx: &Context,
        to: To<'_>,
        first: Bytes,
        body: Reading,
    ) -> Result<(u64, String)> {
        let To {
            bucket,
            key,
            headers,
            unless,
        } = to;
        let other = |name: &str| headers.others.get(name).cloned();
        let request = self
            .client
            .create_multipart_upload()
            .bucket(bucket)
            .key(key)
            .set_content_type(headers.content_type.clone())
            .set_cache_control(other("cache-control"))
            .set_content_disposition(other("content-disposition"))
            .set_content_encoding(other("content-encoding"))
            .set_content_language(other("content-language"))
            .set_metadata(Some(headers.metadata.clone().into_iter().collect()));
        let answer = self.ask(ctx, request.send()).await;
        let answer = answer.doing("begin an upload in parts")?;
        let Some(upload) = answer.upload_id() else {
            return Err(Error::failed("the server named no upload id"));
        };
        let mut sending = JoinSet::new();
        let sent = async {
            let (bytes, parts) = self
                .send_parts(ctx, bucket, key, upload, first, body, &mut sending)
                .await?;
            let parts = CompletedMultipartUpload::builder().set_parts(Some(parts));
            let request = self
                .client
                .complete_multipart_upload()
                .bucket(bucket)
                .key(key)
                .upload_id(upload)
                .set_if_none_match(unless.map(str::to_owned))
                .multipart_upload(parts.build());
            let answer = self.ask(ctx, request.send()).await;
            let answer = answer.doing("complete an upload in parts")?;
            Ok((bytes, unquoted(answer.e_tag())))
        };
        match sent.await {
            Ok(stored) => Ok(stored),
            Err(error) => {
                // A part that came after the abort could stay for ever.
                sending.shutdown().await;
                let aborted = self
                    .abort_upload(&ctx.for_teardown(), bucket, key, upload)
                    .await;
                Err(match aborted {
                    Ok(()) => error,
                    Err(second) => error.doing(format!("({}) and", second.message())),
                })
            }
        }
    }

    #[expect(clippy::too_many_arguments, reason = "one call, split for length")]
    async fn send_parts(
        &self,
        ctx: &Context,
        bucket: &str,
        key: &str,
        upload: &str,
        first: Bytes,
        mut body: Reading,
        sending: &mut JoinSet<Result<CompletedPart>>,
    ) -> Result<(u64, Vec<CompletedPart>)> {
        let mut parts = Vec::new();
        let mut part = first;
        let (mut number, mut bytes) = (0, 0);
        while !part.is_empty() {
            number += 1;
            if number > MAX_PARTS {
                return Err(Error::failed(format!(
                    "it is larger than {MAX_PARTS} parts of {PART_BYTES} bytes"
                )));
            }
            bytes += part.len() as u64;
            if sending.len() == PARTS_IN_FLIGHT {
                parts.push(joined(sending.join_next().await)?);
            }
            let request = self
                .client
                .upload_part()
                .bucket(bucket)
                .key(key)
                .upload_id(upload)
                .part_number(number)
                .content_md5(md5(&part))
                .body(ByteStream::from(part))
                .customize()
                .disable_payload_signing();
            let (this, context) = (self.clone(), ctx.clone());
            sending.spawn(async move {
                let answer = this.ask(&context, request.send()).await;
                let answer = answer.doing_with(|| format!("upload part {number}"))?;
                Ok(CompletedPart::builder()
                    .part_number(number)
                    .set_e_tag(answer.e_tag().map(str::to_owned))
                    .build())
            });
            part = until_cancelled(ctx, read_part(&mut body)).await??;
        }
        while !sending.is_empty() {
            parts.push(joined(sending.join_next().await)?);
        }
        parts.sort_by_key(CompletedPart::part_number);
        Ok((bytes, parts))
    }
}

/// Up to [`PART_BYTES`] bytes; fewer only at the end of the stream.
async fn read_part(body: &mut Reading) -> Result<Bytes> {
    let mut part = Vec::new();
    body.take(PART_BYTES)
        .read_to_end(&mut part)
        .await
        .doing("read what is to be stored")?;
    Ok(Bytes::from(part))
}

/// What a server holds the bytes against: `Content-MD5`.
fn md5(bytes: &[u8]) -> String {
    BASE64_STANDARD.encode(Md5::digest(bytes))
}

fn joined<T>(part: Option<std::result::Result<Result<T>, tokio::task::JoinError>>) -> Result<T> {
    match part {
        Some(done) => done.doing("wait for a part")?,
        None => Err(Error::defect("no part was on its way")),
    }
}
