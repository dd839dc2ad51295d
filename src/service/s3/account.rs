//! Whose account of which server is spoken to, and how: addresses, deadlines, tries.

use std::time::Duration;

use aws_sdk_s3::Client;
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::config::{
    BehaviorVersion, Credentials, Region, RequestChecksumCalculation, ResponseChecksumValidation,
    StalledStreamProtectionConfig,
};

use super::{S3Client, plain};
use crate::service::Endpoint;

/// How long a request may take, with its retries.
const DEADLINE: Duration = Duration::from_secs(120);
/// How long one try of a request may take.
const TRY_DEADLINE: Duration = Duration::from_secs(45);

/// Whose account of which server is read.
#[derive(Clone)]
pub struct Account {
    /// The server's address; of Amazon's own when there is none.
    pub address: Option<String>,
    /// The region.
    pub region: String,
    /// The access key.
    pub key: String,
    /// The secret key.
    pub secret: String,
    /// The token of a session.
    pub token: Option<String>,
}

impl S3Client {
    /// A client of the server at `endpoint`, by plain HTTP and path-style addresses.
    pub fn new(endpoint: &Endpoint) -> Self {
        Self::of(&Account {
            address: Some(format!("http://{}:{}", endpoint.host, endpoint.port)),
            region: "us-east-1".to_owned(),
            key: endpoint.user.clone(),
            secret: endpoint.password.clone(),
            token: None,
        })
    }

    /// A client of somebody's account.
    pub fn of(account: &Account) -> Self {
        let keys = Credentials::new(
            &account.key,
            &account.secret,
            account.token.clone(),
            None,
            "redrill",
        );
        let address = account.address.clone();
        let mut config = aws_sdk_s3::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new(account.region.clone()))
            .credentials_provider(keys)
            .force_path_style(address.is_some())
            .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
            .response_checksum_validation(ResponseChecksumValidation::WhenRequired)
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
            .retry_config(RetryConfig::standard().with_max_attempts(4))
            .timeout_config(
                TimeoutConfig::builder()
                    .connect_timeout(Duration::from_secs(5))
                    .read_timeout(TRY_DEADLINE)
                    .operation_attempt_timeout(TRY_DEADLINE)
                    .operation_timeout(DEADLINE)
                    .build(),
            );
        config.set_endpoint_url(address.clone());
        // By TLS, the SDK's own client.
        if address.as_ref().is_some_and(|it| it.starts_with("http://")) {
            plain::reach(&mut config);
        }
        Self {
            client: Client::from_conf(config.build()),
            address: address.unwrap_or_else(|| format!("S3 in {}", account.region)),
        }
    }

    /// The same client, asking only once: whether a server answers that may be gone.
    pub fn asking_once(&self) -> Self {
        let config = self.client.config().to_builder();
        let config = config.retry_config(RetryConfig::disabled()).build();
        Self {
            client: Client::from_conf(config),
            address: self.address.clone(),
        }
    }
}
