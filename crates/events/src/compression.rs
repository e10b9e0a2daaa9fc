//! Compressed payloads, as kombu has them.
use std::io::Read as _;

use bytes::Bytes;
use flate2::read::{ZlibDecoder, ZlibEncoder};
use sinew_core::Value;

use crate::error::{PayloadError, quoted};

/// How a payload is compressed on its way.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum Compression {
    /// What kombu calls gzip: a zlib stream, told by the header `compression: application/x-gzip`.
    Gzip,
}

impl Compression {
    /// As it stands in the header.
    #[must_use]
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::Gzip => "application/x-gzip",
        }
    }

    pub(crate) fn compress(self, body: &[u8]) -> Result<Bytes, PayloadError> {
        let mut packed = Vec::new();
        match self {
            Self::Gzip => {
                ZlibEncoder::new(body, flate2::Compression::default()).read_to_end(&mut packed)
            }
        }
        .map_err(|_| PayloadError::malformed("it cannot be compressed"))?;
        Ok(packed.into())
    }
}

/// The payload as it was before it was compressed, if it was; at most `limit` bytes of it.
pub(crate) fn inflate(
    body: &Bytes,
    header: Option<&Value>,
    limit: usize,
) -> Result<Bytes, PayloadError> {
    let name = match header {
        None | Some(Value::Null) => return Ok(body.clone()),
        Some(Value::Text(name)) if name.is_empty() => return Ok(body.clone()),
        Some(Value::Text(name)) => name,
        Some(other) => other.type_name(),
    };
    // The aliases are kombu's.
    if !matches!(name, "application/x-gzip" | "gzip" | "zlib") {
        return Err(PayloadError::UnknownCompression { compression: quoted(name) });
    }
    let most = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
    let mut inflated = Vec::new();
    ZlibDecoder::new(&**body)
        .take(most)
        .read_to_end(&mut inflated)
        .map_err(|_| PayloadError::malformed("it is no whole zlib stream"))?;
    if inflated.len() > limit {
        return Err(PayloadError::TooLarge { limit });
    }
    Ok(inflated.into())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(body: &[u8], name: &str, limit: usize) -> Result<Bytes, PayloadError> {
        inflate(&Bytes::copy_from_slice(body), Some(&Value::from(name)), limit)
    }

    proptest! {
        #[test]
        fn what_is_compressed_comes_back(body: Vec<u8>) {
            let packed = Compression::Gzip.compress(&body).unwrap();
            prop_assert_eq!(read(&packed, "application/x-gzip", body.len()).unwrap(), body);
        }

        #[test]
        fn any_bytes_are_read_or_refused(body: Vec<u8>) {
            let _ = read(&body, "zlib", 1 << 16);
        }
    }

    #[test]
    fn a_body_that_python_compressed_is_read() {
        // zlib.compress(b'{"a": 1}')
        let packed = b"\x78\x9c\xab\x56\x4a\x54\xb2\x52\x30\xac\x05\x00\x09\xe5\x02\x29";
        assert_eq!(read(packed, "application/x-gzip", 100).unwrap(), &br#"{"a": 1}"#[..]);
    }

    #[test]
    fn what_inflates_beyond_the_limit_is_refused_before_it_is_held() {
        let bomb = Compression::Gzip.compress(&vec![0; 1 << 24]).unwrap();
        assert!(bomb.len() < 1 << 16);
        assert_eq!(read(&bomb, "gzip", 1 << 20), Err(PayloadError::TooLarge { limit: 1 << 20 }));
        assert!(read(&bomb, "gzip", 1 << 24).is_ok());
    }

    #[test]
    fn a_cut_or_real_gzip_stream_is_refused() {
        let packed = Compression::Gzip.compress(b"some text, long enough to cut").unwrap();
        for body in [&packed[..packed.len() - 5], b"\x1f\x8b\x08\0\0\0\0\0", b""] {
            let err = read(body, "application/x-gzip", 100).unwrap_err();
            assert!(matches!(err, PayloadError::Malformed { .. }), "{err:?}");
        }
    }

    #[test]
    fn another_compression_is_refused_by_name() {
        let err = read(b"", "application/x-bz2", 100).unwrap_err();
        let compression = "application/x-bz2".into();
        assert_eq!(err, PayloadError::UnknownCompression { compression });
        let err = inflate(&Bytes::new(), Some(&Value::from(7)), 100).unwrap_err();
        assert_eq!(err, PayloadError::UnknownCompression { compression: "integer".into() });
        assert_eq!(read(b"plain", "", 100).unwrap(), "plain");
    }
}
