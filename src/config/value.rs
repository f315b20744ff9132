//! The kinds of values settings have: how each is written, read, shown and described in an error.
//!
//! A value that exists is valid by itself; what depends on other settings is in `check`. Amounts
//! are in `quantity`, the database in `database`.

use std::path::PathBuf;

use super::setting::Form;

/// A type that a setting can have.
pub(super) trait Value: Sized {
    /// What a person should have written, to follow "expected".
    const EXPECTED: &'static str;
    /// The name of the value in `--help`.
    const PLACEHOLDER: &'static str;
    const FORM: Form = Form::Text;
    /// Whether a wrong value may not be repeated in an error.
    const SECRET: bool = false;

    fn parse(text: &str) -> Option<Self>;

    /// As a user would write it, secrets hidden; nothing when it is unset.
    fn show(&self) -> Option<String>;

    /// What it is when there is neither a value nor a default, if that is allowed.
    fn unset() -> Option<Self> {
        None
    }
}

/// The address of an OTLP collector.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint(String);

impl Endpoint {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Value for Option<Endpoint> {
    const EXPECTED: &'static str = "`http://HOST:PORT` of an OTLP/gRPC collector";
    const PLACEHOLDER: &'static str = "URL";
    // Somebody may have put a token into it, where it is not allowed.
    const SECRET: bool = true;

    fn parse(text: &str) -> Option<Self> {
        let uri: http::Uri = text.parse().ok()?;
        let plain = uri.scheme_str() == Some("http")
            && matches!(uri.path(), "" | "/")
            && uri.query().is_none();
        let host = uri
            .authority()
            .is_some_and(|authority| !authority.as_str().contains('@'));
        (plain && host).then(|| Some(Endpoint(text.to_owned())))
    }

    fn show(&self) -> Option<String> {
        self.as_ref().map(|endpoint| endpoint.0.clone())
    }

    fn unset() -> Option<Self> {
        Some(None)
    }
}

/// How log lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people on a terminal, as JSON otherwise.
    Auto,
    Pretty,
    Json,
}

impl Value for LogFormat {
    const EXPECTED: &'static str = "`auto`, `pretty` or `json`";
    const PLACEHOLDER: &'static str = "FORMAT";

    fn parse(text: &str) -> Option<Self> {
        match text {
            "auto" => Some(Self::Auto),
            "pretty" => Some(Self::Pretty),
            "json" => Some(Self::Json),
            _ => None,
        }
    }

    fn show(&self) -> Option<String> {
        let name = match self {
            Self::Auto => "auto",
            Self::Pretty => "pretty",
            Self::Json => "json",
        };
        Some(name.to_owned())
    }
}

/// Whether callers need a credential.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Authentication {
    Required,
    /// Until the ledger holds a token.
    Off,
}

impl Value for Option<Authentication> {
    const EXPECTED: &'static str = "`required` or `off`";
    const PLACEHOLDER: &'static str = "WHEN";

    fn parse(text: &str) -> Option<Self> {
        match text {
            "required" => Some(Some(Authentication::Required)),
            "off" => Some(Some(Authentication::Off)),
            _ => None,
        }
    }

    fn show(&self) -> Option<String> {
        let name = match self.as_ref()? {
            Authentication::Required => "required",
            Authentication::Off => "off",
        };
        Some(name.to_owned())
    }

    fn unset() -> Option<Self> {
        Some(None)
    }
}

impl Value for bool {
    const EXPECTED: &'static str = "`true` or `false`";
    const PLACEHOLDER: &'static str = "BOOL";
    const FORM: Form = Form::Switch;

    fn parse(text: &str) -> Option<Self> {
        text.parse().ok()
    }

    fn show(&self) -> Option<String> {
        Some(self.to_string())
    }
}

impl Value for Option<bool> {
    const EXPECTED: &'static str = bool::EXPECTED;
    const PLACEHOLDER: &'static str = bool::PLACEHOLDER;
    const FORM: Form = bool::FORM;

    fn parse(text: &str) -> Option<Self> {
        bool::parse(text).map(Some)
    }

    fn show(&self) -> Option<String> {
        self.map(|on| on.to_string())
    }

    fn unset() -> Option<Self> {
        Some(None)
    }
}

impl Value for Option<u32> {
    const EXPECTED: &'static str = "a whole number from 1 to 4294967295, or `off`";
    const PLACEHOLDER: &'static str = "COUNT";

    fn parse(text: &str) -> Option<Self> {
        match text {
            "off" => Some(None),
            count => u32::parse(count).map(Some),
        }
    }

    fn show(&self) -> Option<String> {
        Some(self.map_or_else(|| "off".to_owned(), |count| count.to_string()))
    }
}

impl Value for u32 {
    const EXPECTED: &'static str = "a whole number from 1 to 4294967295";
    const PLACEHOLDER: &'static str = "COUNT";
    const FORM: Form = Form::Number;

    fn parse(text: &str) -> Option<Self> {
        text.parse().ok().filter(|count| *count > 0)
    }

    fn show(&self) -> Option<String> {
        Some(self.to_string())
    }
}

impl Value for String {
    const EXPECTED: &'static str = "text";
    const PLACEHOLDER: &'static str = "TEXT";

    fn parse(text: &str) -> Option<Self> {
        Some(text.to_owned()).filter(|text| !text.is_empty())
    }

    fn show(&self) -> Option<String> {
        Some(self.clone())
    }
}

impl Value for Option<String> {
    const EXPECTED: &'static str = String::EXPECTED;
    const PLACEHOLDER: &'static str = String::PLACEHOLDER;

    fn parse(text: &str) -> Option<Self> {
        String::parse(text).map(Some)
    }

    fn show(&self) -> Option<String> {
        self.clone()
    }

    fn unset() -> Option<Self> {
        Some(None)
    }
}

impl Value for PathBuf {
    const EXPECTED: &'static str = "a path";
    const PLACEHOLDER: &'static str = "PATH";

    fn parse(text: &str) -> Option<Self> {
        String::parse(text).map(Self::from)
    }

    fn show(&self) -> Option<String> {
        Some(self.display().to_string())
    }
}

impl Value for Option<PathBuf> {
    const EXPECTED: &'static str = PathBuf::EXPECTED;
    const PLACEHOLDER: &'static str = PathBuf::PLACEHOLDER;

    fn parse(text: &str) -> Option<Self> {
        PathBuf::parse(text).map(Some)
    }

    fn show(&self) -> Option<String> {
        self.as_ref().and_then(Value::show)
    }

    fn unset() -> Option<Self> {
        Some(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_a_plain_address_without_credentials() {
        assert_eq!(
            Option::<Endpoint>::parse("http://localhost:4317")
                .unwrap()
                .unwrap()
                .as_str(),
            "http://localhost:4317"
        );
        for text in [
            "",
            "localhost:4317",
            "https://h:4317",
            "http://u:p@h:4317",
            "http://h:4317/v1/traces",
            "grpc://h",
        ] {
            assert_eq!(Option::<Endpoint>::parse(text), None, "{text:?}");
        }
    }
}
