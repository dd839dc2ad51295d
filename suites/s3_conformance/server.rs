//! The servers under test, and what every case needs of one: a client, a bucket of its own, words for refusals.

use aws_sdk_s3::Client;
use aws_sdk_s3::config::{
    BehaviorVersion, Credentials, Region, RequestChecksumCalculation, ResponseChecksumValidation,
};
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::primitives::ByteStream;
use redrill::provision::object_store::ObjectStore;
use tempfile::TempDir;

pub const ACCESS_KEY: &str = "drillaccess";
pub const SECRET_KEY: &str = "drillsecret0123456789";

/// A server that answers somewhere.
#[derive(Clone)]
pub struct Server {
    pub endpoint: String,
    pub access_key: String,
    pub secret_key: String,
}

impl Server {
    /// A client with the product's settings: path style, checksums only where an operation needs them.
    pub fn client(&self) -> Client {
        self.client_with(&self.access_key, &self.secret_key, false)
    }

    /// A client with other keys, or with the SDK's default checksums (CRC32 in an unsigned trailer).
    pub fn client_with(&self, access_key: &str, secret_key: &str, checksums: bool) -> Client {
        let (calculate, validate) = if checksums {
            (
                RequestChecksumCalculation::WhenSupported,
                ResponseChecksumValidation::WhenSupported,
            )
        } else {
            (
                RequestChecksumCalculation::WhenRequired,
                ResponseChecksumValidation::WhenRequired,
            )
        };
        let config = aws_sdk_s3::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .endpoint_url(&self.endpoint)
            .region(Region::new("us-east-1"))
            .credentials_provider(Credentials::new(access_key, secret_key, None, None, "test"))
            .force_path_style(true)
            .request_checksum_calculation(calculate)
            .response_checksum_validation(validate)
            .build();
        Client::from_conf(config)
    }

    /// A client and a fresh bucket.
    pub async fn bucket(&self) -> (Client, String) {
        let client = self.client();
        let bucket = format!("case-{:016x}", rand::random::<u64>());
        client
            .create_bucket()
            .bucket(&bucket)
            .send()
            .await
            .expect("create bucket");
        (client, bucket)
    }
}

/// An embedded store in a directory of its own.
pub struct Embedded {
    /// Dropped before its directory is removed.
    pub store: ObjectStore,
    pub dir: TempDir,
}

impl Embedded {
    pub fn start() -> Self {
        let dir = TempDir::new().expect("temporary directory");
        let store = ObjectStore::start(dir.path().join("s3"), ACCESS_KEY, SECRET_KEY)
            .expect("start the embedded store");
        Self { store, dir }
    }

    pub fn server(&self) -> Server {
        server_on(self.store.port())
    }

    pub async fn stop(self) {
        self.store.stop().await;
    }
}

/// An embedded store that answers on a port.
pub fn server_on(port: u16) -> Server {
    Server {
        endpoint: format!("http://127.0.0.1:{port}"),
        access_key: ACCESS_KEY.to_owned(),
        secret_key: SECRET_KEY.to_owned(),
    }
}

/// How a request was refused: status and code.
pub fn refused<T: std::fmt::Debug, E>(result: Result<T, SdkError<E>>) -> (u16, String)
where
    E: ProvideErrorMetadata + std::fmt::Debug,
{
    let error = result.expect_err("was not refused");
    let status = error
        .raw_response()
        .unwrap_or_else(|| panic!("no answer: {error:?}"))
        .status()
        .as_u16();
    let code = error
        .as_service_error()
        .and_then(|error| error.code())
        .unwrap_or_default();
    (status, code.to_owned())
}

/// Puts an object and gives its ETag.
pub async fn put(client: &Client, bucket: &str, key: &str, body: impl Into<Vec<u8>>) -> String {
    client
        .put_object()
        .bucket(bucket)
        .key(key)
        .body(ByteStream::from(body.into()))
        .send()
        .await
        .unwrap_or_else(|error| panic!("put {key:?}: {error:?}"))
        .e_tag
        .expect("an ETag")
}

/// The bytes of an object.
pub async fn get(client: &Client, bucket: &str, key: &str) -> Vec<u8> {
    let answer = client
        .get_object()
        .bucket(bucket)
        .key(key)
        .send()
        .await
        .unwrap_or_else(|error| panic!("get {key:?}: {error:?}"));
    answer.body.collect().await.expect("body").to_vec()
}

/// Bytes that differ everywhere, the same for the same seed.
pub fn bytes(seed: u64, length: usize) -> Vec<u8> {
    use rand_chacha::ChaCha8Rng;
    use rand_chacha::rand_core::{Rng, SeedableRng};
    let mut bytes = vec![0; length];
    ChaCha8Rng::seed_from_u64(seed).fill_bytes(&mut bytes);
    bytes
}

/// The MD5 of some bytes in hex, and in base64.
pub fn md5(bytes: &[u8]) -> (String, String) {
    use base64::Engine as _;
    use s3s::crypto::{Checksum as _, Md5};
    let digest = Md5::checksum(bytes);
    (
        hex::encode(digest),
        base64::engine::general_purpose::STANDARD.encode(digest),
    )
}
