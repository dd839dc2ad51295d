//! Digests of bodies: the five checksums that S3 knows, the MD5 that every body gets, and the check of what a
//! client announced against what arrived.
//!
//! Not here: the payload hash and chunk signatures of SigV4, which `s3s` verifies while the body streams.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, StatusCode};
use s3s::checksum::ChecksumHasher;
use s3s::crypto::{Checksum as _, Crc32, Crc32c, Crc64Nvme, Md5, Sha1, Sha256};
use s3s::dto::ChecksumType;
use s3s::{S3Result, TrailingHeaders, s3_error};
use serde::{Deserialize, Serialize};

use super::refusal;

/// A checksum algorithm of the `x-amz-checksum-*` headers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Algorithm {
    /// CRC-32 (ISO-HDLC).
    Crc32,
    /// CRC-32C (Castagnoli).
    Crc32c,
    /// CRC-64/NVME.
    Crc64nvme,
    /// SHA-1.
    Sha1,
    /// SHA-256.
    Sha256,
}

impl Algorithm {
    const ALL: [Self; 5] = [
        Self::Crc32,
        Self::Crc32c,
        Self::Crc64nvme,
        Self::Sha1,
        Self::Sha256,
    ];

    /// The name used in `x-amz-checksum-algorithm`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Crc32 => "CRC32",
            Self::Crc32c => "CRC32C",
            Self::Crc64nvme => "CRC64NVME",
            Self::Sha1 => "SHA1",
            Self::Sha256 => "SHA256",
        }
    }

    fn header(self) -> &'static str {
        match self {
            Self::Crc32 => "x-amz-checksum-crc32",
            Self::Crc32c => "x-amz-checksum-crc32c",
            Self::Crc64nvme => "x-amz-checksum-crc64nvme",
            Self::Sha1 => "x-amz-checksum-sha1",
            Self::Sha256 => "x-amz-checksum-sha256",
        }
    }

    /// The algorithm of this name, in any case of letters.
    pub fn find(name: &str) -> S3Result<Self> {
        Self::ALL
            .into_iter()
            .find(|known| known.name().eq_ignore_ascii_case(name))
            .ok_or_else(|| s3_error!(InvalidRequest, "unknown checksum algorithm {name}"))
    }

    /// Whether a multipart checksum of this algorithm can cover the whole object, and does so unless told otherwise.
    pub fn whole_by_default(self) -> bool {
        self == Self::Crc64nvme
    }
}

/// The checksum of a stored body.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checksum {
    /// What computed it.
    pub algorithm: Algorithm,
    /// Base64; `base64-N` for the checksum of N part checksums.
    pub value: String,
}

impl Checksum {
    /// Whether it covers the object's bytes, or its parts' checksums.
    pub fn kind(&self) -> ChecksumType {
        let composite = self.value.contains('-');
        ChecksumType::from_static(if composite {
            ChecksumType::COMPOSITE
        } else {
            ChecksumType::FULL_OBJECT
        })
    }

    /// The checksum of the parts' checksums, in their order.
    pub fn composite(algorithm: Algorithm, parts: &[String]) -> S3Result<Self> {
        let mut hasher = Hasher::new(algorithm);
        for part in parts {
            let digest = STANDARD
                .decode(part)
                .map_err(|_| s3_error!(InternalError, "stored part checksum is not base64"))?;
            hasher.update(&digest);
        }
        let mut whole = hasher.finish();
        whole.value = format!("{}-{}", whole.value, parts.len());
        Ok(whole)
    }
}

/// Computes one checksum.
pub struct Hasher {
    algorithm: Algorithm,
    inner: ChecksumHasher,
}

impl Hasher {
    /// A hasher that has seen nothing.
    pub fn new(algorithm: Algorithm) -> Self {
        let mut inner = ChecksumHasher::default();
        match algorithm {
            Algorithm::Crc32 => inner.crc32 = Some(Crc32::new()),
            Algorithm::Crc32c => inner.crc32c = Some(Crc32c::new()),
            Algorithm::Crc64nvme => inner.crc64nvme = Some(Crc64Nvme::new()),
            Algorithm::Sha1 => inner.sha1 = Some(Sha1::new()),
            Algorithm::Sha256 => inner.sha256 = Some(Sha256::new()),
        }
        Self { algorithm, inner }
    }

    /// Takes in more bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.inner.update(bytes);
    }

    /// The checksum of all bytes seen.
    pub fn finish(self) -> Checksum {
        let all = self.inner.finalize();
        let value = match self.algorithm {
            Algorithm::Crc32 => all.checksum_crc32,
            Algorithm::Crc32c => all.checksum_crc32c,
            Algorithm::Crc64nvme => all.checksum_crc64nvme,
            Algorithm::Sha1 => all.checksum_sha1,
            Algorithm::Sha256 => all.checksum_sha256,
        };
        Checksum {
            algorithm: self.algorithm,
            value: value.unwrap_or_default(),
        }
    }
}

/// The MD5 of some bytes.
pub fn md5(bytes: &[u8]) -> [u8; 16] {
    Md5::checksum(bytes)
}

/// What a client announced about a body: in headers before it, or in trailers after it.
#[derive(Default)]
pub struct Announced {
    md5: Option<String>,
    algorithm: Option<Algorithm>,
    value: Option<String>,
    trailers: Option<TrailingHeaders>,
}

impl Announced {
    /// Reads the announcement: `given` are the checksum headers that had a value, `named` is the algorithm that
    /// the client named without a value, `fallback` the one to compute when the client said nothing.
    pub fn new(
        md5: Option<String>,
        given: Option<Checksum>,
        named: Option<&str>,
        fallback: Option<Algorithm>,
        headers: &HeaderMap,
        trailers: Option<TrailingHeaders>,
    ) -> S3Result<Self> {
        let trailing = headers
            .get("x-amz-trailer")
            .and_then(|value| value.to_str().ok())
            .and_then(|names| {
                Algorithm::ALL.into_iter().find(|known| {
                    names
                        .split(',')
                        .any(|name| name.trim().eq_ignore_ascii_case(known.header()))
                })
            });
        let named = named.map(Algorithm::find).transpose()?;
        let algorithm = given
            .as_ref()
            .map(|given| given.algorithm)
            .or(trailing)
            .or(named);
        if let (Some(algorithm), Some(wanted)) = (algorithm, fallback)
            && algorithm != wanted
        {
            return Err(s3_error!(
                InvalidRequest,
                "checksum type mismatch: expected {}, got {}",
                wanted.name(),
                algorithm.name()
            ));
        }
        Ok(Self {
            md5,
            algorithm: algorithm.or(fallback),
            value: given.map(|given| given.value),
            trailers: trailing.and(trailers),
        })
    }

    /// What has to be computed while the body arrives.
    pub fn algorithm(&self) -> Option<Algorithm> {
        self.algorithm
    }

    /// Refuses a body that is not what was announced. Trailers are read only now, after the body.
    pub fn verify(&self, md5: &[u8; 16], computed: Option<&Checksum>) -> S3Result<()> {
        if let Some(announced) = &self.md5 {
            match STANDARD.decode(announced) {
                Ok(digest) if digest == md5 => {}
                Ok(digest) if digest.len() == md5.len() => {
                    return Err(s3_error!(
                        BadDigest,
                        "the Content-MD5 you specified did not match what we received"
                    ));
                }
                _ => return Err(s3_error!(InvalidDigest, "the Content-MD5 is not valid")),
            }
        }
        let Some(computed) = computed else {
            return Ok(());
        };
        let header = computed.algorithm.header();
        let trailer = match &self.trailers {
            None => None,
            Some(trailers) => Some(
                trailers
                    .read(|all| {
                        all.get(header)
                            .and_then(|v| v.to_str().ok().map(str::to_owned))
                    })
                    .flatten()
                    .ok_or_else(|| {
                        refusal::custom(
                            "MalformedTrailerError",
                            StatusCode::BAD_REQUEST,
                            format!("the announced trailer {header} is missing"),
                        )
                    })?,
            ),
        };
        for announced in [&self.value, &trailer].into_iter().flatten() {
            if *announced != computed.value {
                return Err(s3_error!(
                    BadDigest,
                    "the {} you specified did not match the calculated checksum",
                    computed.algorithm.name()
                ));
            }
        }
        Ok(())
    }
}

/// Several checksum headers collapse into the one that has a value; more than one is refused, as S3 does.
pub fn only_one(given: [(Algorithm, Option<String>); 5]) -> S3Result<Option<Checksum>> {
    let mut found = given
        .into_iter()
        .filter_map(|(algorithm, value)| value.map(|value| Checksum { algorithm, value }));
    let first = found.next();
    if found.next().is_some() {
        return Err(s3_error!(
            InvalidRequest,
            "expecting a single x-amz-checksum- header, multiple checksum types are not allowed"
        ));
    }
    Ok(first)
}

/// Takes the checksum fields out of a request type of `s3s`.
macro_rules! given_checksum {
    ($from:expr) => {{
        use $crate::provision::object_store::checksum::{Algorithm, only_one};
        only_one([
            (Algorithm::Crc32, $from.checksum_crc32.take()),
            (Algorithm::Crc32c, $from.checksum_crc32c.take()),
            (Algorithm::Crc64nvme, $from.checksum_crc64nvme.take()),
            (Algorithm::Sha1, $from.checksum_sha1.take()),
            (Algorithm::Sha256, $from.checksum_sha256.take()),
        ])
    }};
}

/// Puts a checksum into the fields of a response type of `s3s`.
macro_rules! echo_checksum {
    ($to:expr, $checksum:expr) => {
        if let Some(checksum) = $checksum {
            use $crate::provision::object_store::checksum::Algorithm;
            let value = Some(checksum.value.clone());
            match checksum.algorithm {
                Algorithm::Crc32 => $to.checksum_crc32 = value,
                Algorithm::Crc32c => $to.checksum_crc32c = value,
                Algorithm::Crc64nvme => $to.checksum_crc64nvme = value,
                Algorithm::Sha1 => $to.checksum_sha1 = value,
                Algorithm::Sha256 => $to.checksum_sha256 = value,
            }
        }
    };
}
pub(super) use {echo_checksum, given_checksum};

#[cfg(test)]
mod tests {
    use super::*;

    fn computed(algorithm: Algorithm, bytes: &[u8]) -> Checksum {
        let mut hasher = Hasher::new(algorithm);
        hasher.update(bytes);
        hasher.finish()
    }

    #[test]
    fn checksums_equal_the_published_check_values() {
        // The "check" column of the catalogue of parametrised CRC algorithms; FIPS 180 for the SHAs.
        let expected = [
            (Algorithm::Crc32, "y/Q5Jg=="),
            (Algorithm::Crc32c, "4waSgw=="),
            (Algorithm::Crc64nvme, "rosUhgp5mIg="),
            (Algorithm::Sha1, "98O8HYCOBHMq32eZZczDTKeuNEE="),
            (
                Algorithm::Sha256,
                "FeKw08M4keuw8e9gnsQZQgwg4yDOlMZfvIwzEkSOsiU=",
            ),
        ];
        for (algorithm, value) in expected {
            let sum = computed(algorithm, b"123456789");
            assert_eq!(sum.value, value, "{}", algorithm.name());
        }
    }

    #[test]
    fn a_wrong_md5_is_refused_and_a_right_one_is_not() {
        let announced = |text: &str| Announced {
            md5: Some(text.to_owned()),
            ..Announced::default()
        };
        let digest = md5(b"body");
        let right = STANDARD.encode(digest);
        assert!(announced(&right).verify(&digest, None).is_ok());
        let wrong = STANDARD.encode(md5(b"other"));
        let error = announced(&wrong)
            .verify(&digest, None)
            .expect_err("refused");
        assert_eq!(error.code().as_str(), "BadDigest");
        let error = announced("nonsense")
            .verify(&digest, None)
            .expect_err("refused");
        assert_eq!(error.code().as_str(), "InvalidDigest");
    }

    #[test]
    fn a_composite_checksum_counts_its_parts() {
        let parts: Vec<String> = [b"one", b"two"]
            .map(|part| computed(Algorithm::Sha256, part).value)
            .to_vec();
        let whole = Checksum::composite(Algorithm::Sha256, &parts).expect("computed");
        assert!(whole.value.ends_with("-2"));
        assert_eq!(whole.kind().as_str(), "COMPOSITE");
    }
}
