//! The algorithms that JWTs may be signed by, as a setting names them.
//!
//! Only what has a public and a private key: with the others (`HS256`, …) whoever can verify a JWT can make one, and
//! `none` is signed by nobody. What an algorithm does is `crate::auth`'s business.

use super::value::Value;

/// One algorithm, by its name in RFC 7518 and RFC 8037.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JwtAlgorithm {
    Rs256,
    Rs384,
    Rs512,
    Ps256,
    Ps384,
    Ps512,
    Es256,
    Es384,
    EdDsa,
}

impl JwtAlgorithm {
    const ALL: [Self; 9] = [
        Self::Rs256,
        Self::Rs384,
        Self::Rs512,
        Self::Ps256,
        Self::Ps384,
        Self::Ps512,
        Self::Es256,
        Self::Es384,
        Self::EdDsa,
    ];

    const fn name(self) -> &'static str {
        match self {
            Self::Rs256 => "RS256",
            Self::Rs384 => "RS384",
            Self::Rs512 => "RS512",
            Self::Ps256 => "PS256",
            Self::Ps384 => "PS384",
            Self::Ps512 => "PS512",
            Self::Es256 => "ES256",
            Self::Es384 => "ES384",
            Self::EdDsa => "EdDSA",
        }
    }
}

/// At least one, each once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JwtAlgorithms(Vec<JwtAlgorithm>);

impl JwtAlgorithms {
    pub fn iter(&self) -> impl Iterator<Item = JwtAlgorithm> {
        self.0.iter().copied()
    }
}

impl Value for JwtAlgorithms {
    const EXPECTED: &'static str = "some of RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384 and EdDSA, with commas between";
    const PLACEHOLDER: &'static str = "ALGORITHMS";

    fn parse(text: &str) -> Option<Self> {
        let mut found = Vec::new();
        for name in text.split(',') {
            let mut all = JwtAlgorithm::ALL.into_iter();
            let one = all.find(|one| one.name() == name.trim())?;
            if found.contains(&one) {
                return None;
            }
            found.push(one);
        }
        Some(Self(found))
    }

    fn show(&self) -> Option<String> {
        let names: Vec<_> = self.iter().map(JwtAlgorithm::name).collect();
        Some(names.join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_everybody_could_sign_with_is_no_algorithm() {
        let all = "RS256,RS384,RS512,PS256,PS384,PS512,ES256,ES384,EdDSA";
        let read = JwtAlgorithms::parse(all).unwrap();
        assert_eq!(read.iter().collect::<Vec<_>>(), JwtAlgorithm::ALL);
        assert_eq!(read.show().unwrap(), all);
        assert_eq!(
            JwtAlgorithms::parse("ES256, RS256").unwrap().0,
            [JwtAlgorithm::Es256, JwtAlgorithm::Rs256]
        );
        for refused in [
            "",
            ",",
            "none",
            "None",
            "HS256",
            "HS384",
            "HS512",
            "ES256,none",
            "ES256,HS256",
            "ES256,",
            "es256",
            "ES256 RS256",
            "ES512",
            "ES256,ES256",
            "*",
        ] {
            assert_eq!(JwtAlgorithms::parse(refused), None, "{refused:?}");
        }
    }
}
