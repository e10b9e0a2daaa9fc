//! The key that sender and receiver share, and the signature that it makes.
use std::fmt;

use base64::{
    Engine as _, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
    prelude::BASE64_STANDARD,
};
use hmac::{Hmac, Mac as _};
use sha2::Sha256;
use sinew_core::{Error, ErrorKind, Result};

const PREFIX: &str = "whsec_";

/// What the specification allows, in bytes.
const LENGTHS: std::ops::RangeInclusive<usize> = 24..=64;

/// A secret that signs notifications, shared with who receives them; never shown by `Debug`.
#[derive(Clone)]
pub struct WebhookSecret(Hmac<Sha256>);

impl WebhookSecret {
    /// Reads a secret as [Standard Webhooks](https://www.standardwebhooks.com) writes it: `whsec_`, then 24 to 64 bytes
    /// in base64. `echo "whsec_$(openssl rand -base64 32)"` makes one.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidOptions`] when it is something else; the error does not tell it.
    pub fn parse(text: &str) -> Result<Self> {
        let invalid = |detail: &'static str| {
            Error::new(ErrorKind::InvalidOptions, "read webhook secret").with_detail(detail)
        };
        let encoded =
            text.strip_prefix(PREFIX).ok_or_else(|| invalid("it begins with `whsec_`"))?;
        let padding =
            GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
        // The cause would name a character of it.
        let key = GeneralPurpose::new(&alphabet::STANDARD, padding)
            .decode(encoded)
            .map_err(|_| invalid("what follows `whsec_` is base64"))?;
        if !LENGTHS.contains(&key.len()) {
            return Err(invalid("it has 24 to 64 bytes, before they are written in base64"));
        }
        let keyed = Hmac::new_from_slice(&key).map_err(|_| invalid("it makes no key"))?;
        Ok(Self(keyed))
    }

    /// One of the signatures in `webhook-signature`.
    pub(super) fn sign(&self, id: &str, timestamp: u64, body: &[u8]) -> String {
        let mut mac = self.0.clone();
        mac.update(format!("{id}.{timestamp}.").as_bytes());
        mac.update(body);
        format!("v1,{}", BASE64_STANDARD.encode(mac.finalize().into_bytes()))
    }
}

impl fmt::Debug for WebhookSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WebhookSecret(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

    /// From the tests of the Standard Webhooks libraries.
    #[test]
    fn a_signature_is_that_of_the_specification() {
        let secret = WebhookSecret::parse(SECRET).unwrap();
        let id = "msg_p5jXN8AQM9LWM0D4loKWxJek";
        assert_eq!(
            secret.sign(id, 1_614_265_330, br#"{"test": 2432232314}"#),
            "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
        );
    }

    #[test]
    fn padding_may_be_left_out() {
        let key = format!("whsec_{}", "QUFB".repeat(8));
        let padded = WebhookSecret::parse(&format!("{key}QQ==")).unwrap();
        let bare = WebhookSecret::parse(&format!("{key}QQ")).unwrap();
        assert_eq!(padded.sign("a", 1, b""), bare.sign("a", 1, b""));
    }

    #[test]
    fn what_is_no_secret_is_refused_and_not_told() {
        let short = format!("whsec_{}", "QUFB".repeat(7));
        let long = format!("whsec_{}", "QUFB".repeat(22));
        let bare = SECRET.trim_start_matches("whsec_");
        for text in ["", "whsec_", bare, "whsec_hunter2!", &short, &long, &format!("{SECRET}\n")] {
            let refused = WebhookSecret::parse(text).unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::InvalidOptions, "{text}");
            assert!(
                text.len() < 8 || !format!("{refused}{refused:?}").contains(&text[6..]),
                "{text}"
            );
        }
    }

    #[test]
    fn a_secret_is_not_shown() {
        let secret = WebhookSecret::parse(SECRET).unwrap();
        assert_eq!(format!("{secret:?}"), "WebhookSecret(..)");
    }
}
