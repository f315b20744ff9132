//! Client certificates: what one says, and whom the operator's file makes of it.
//!
//! A name in the certificate (subject alternative name) leads to a caller: a URI, as SPIFFE ids are, or a
//! DNS name. Whole names alone, no patterns: what somebody may do should not depend on who else gets a
//! certificate. How a certificate is verified is the listener's business, and so is reading the file.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwap;
use serde::Deserialize;

use crate::domain::caller::{Businesses, Caller, Permission, Permissions};
use crate::domain::id::{BusinessId, CallerName};

/// A name in a certificate. Two kinds never meet: a URI that looks like a DNS name is none.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Name {
    /// Compared as it is, to the letter.
    Uri(String),
    /// In lower case: case means nothing in DNS.
    Dns(String),
}

impl Name {
    pub fn uri(text: &str) -> Self {
        Self::Uri(text.to_owned())
    }

    pub fn dns(text: &str) -> Self {
        Self::Dns(text.to_ascii_lowercase())
    }

    /// As an operator writes it: what has a scheme is a URI.
    fn read(text: &str) -> Result<Self, String> {
        let plain = |byte: u8| byte.is_ascii_graphic() && byte != b'*';
        if text.is_empty() || !text.bytes().all(plain) {
            let fault =
                "is no name: expected a URI, as in `spiffe://acme.example/sender`, or a DNS name";
            return Err(format!("`{text}` {fault}"));
        }
        match text.contains(':') {
            true => Ok(Self::uri(text)),
            false => Ok(Self::dns(text)),
        }
    }
}

/// The certificate of a connection, as far as calls need it: empty for one that showed none, and until the
/// handshake is done. A handle: cheap to clone.
#[derive(Clone, Default)]
pub struct Certificate(Option<Arc<OnceLock<Shown>>>);

struct Shown {
    names: Vec<Name>,
    is_good: Box<dyn Fn() -> bool + Send + Sync>,
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.shown().map(|shown| &shown.names);
        f.debug_tuple("Certificate").field(&names).finish()
    }
}

impl Certificate {
    /// For a connection that will show one.
    pub fn expected() -> Self {
        Self(Some(Arc::default()))
    }

    /// Keeps what the handshake found. `is_good` is asked for each call: a connection may outlive its
    /// certificate, and the list that it is revoked by may come later.
    pub fn shows(&self, names: Vec<Name>, is_good: impl Fn() -> bool + Send + Sync + 'static) {
        if let Some(place) = &self.0 {
            let is_good = Box::new(is_good);
            place.get_or_init(|| Shown { names, is_good });
        }
    }

    fn shown(&self) -> Option<&Shown> {
        self.0.as_ref()?.get()
    }
}

/// Whom each name belongs to: what the file says now. A handle: cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct CertificateCallers(Arc<ArcSwap<BTreeMap<Name, Arc<Caller>>>>);

/// What is wrong with the file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadCallers(String);

/// The file as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    #[serde(default)]
    caller: Vec<WrittenCaller>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenCaller {
    name: String,
    certificate_names: Vec<String>,
    #[serde(default)]
    businesses: BTreeSet<String>,
    #[serde(default)]
    all_businesses: bool,
    permissions: Vec<String>,
}

/// The callers of a file, by the names of their certificates.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct ReadCallers(BTreeMap<Name, Arc<Caller>>);

impl ReadCallers {
    /// Reads the text of the file. Nobody is let in by half a file: one mistake refuses all of it.
    pub fn read(text: &str) -> Result<Self, BadCallers> {
        let written: Written = toml::from_str(text).map_err(|error| {
            let before = error.span().and_then(|span| text.get(..span.start));
            let line = before.map_or(1, |before| before.matches('\n').count() + 1);
            BadCallers(format!("line {line}: {}", error.message()))
        })?;
        let mut all = BTreeMap::new();
        for one in &written.caller {
            let wrong = |fault: String| BadCallers(format!("caller `{}`: {fault}", one.name));
            let caller = Arc::new(one.read().map_err(wrong)?);
            if one.certificate_names.is_empty() {
                return Err(wrong(
                    "`certificate_names` must name at least one".to_owned(),
                ));
            }
            for text in &one.certificate_names {
                let name = Name::read(text).map_err(wrong)?;
                if all.insert(name, Arc::clone(&caller)).is_some() {
                    return Err(wrong(format!("`{text}` is named twice")));
                }
            }
        }
        Ok(Self(all))
    }
}

impl WrittenCaller {
    fn read(&self) -> Result<Caller, String> {
        let name = CallerName::parse(&self.name).map_err(|fault| format!("`name` {fault}"))?;
        let businesses = match (self.all_businesses, self.businesses.is_empty()) {
            (true, true) => Businesses::All,
            (false, false) => {
                let read = self.businesses.iter().map(|text| {
                    BusinessId::parse(text).map_err(|fault| format!("business `{text}` {fault}"))
                });
                Businesses::Only(read.collect::<Result<_, _>>()?)
            }
            (true, false) | (false, true) => {
                return Err("expected either `businesses` or `all_businesses = true`".to_owned());
            }
        };
        let mut permissions = Permissions::default();
        for word in &self.permissions {
            let permission = Permission::from_word(word);
            let permission =
                permission.ok_or_else(|| format!("there is no permission `{word}`"))?;
            permissions = permissions.with(permission);
        }
        if permissions.is_empty() {
            return Err("`permissions` must name at least one".to_owned());
        }
        Ok(Caller {
            name,
            businesses,
            permissions,
        })
    }
}

impl CertificateCallers {
    /// Holds for every call from now on.
    pub fn replace(&self, read: ReadCallers) {
        self.0.store(Arc::new(read.0));
    }

    /// Whose certificate this is. If its names lead to several callers, nobody's: which one would count is
    /// for nobody to guess.
    pub(super) fn find(&self, certificate: &Certificate) -> Option<Arc<Caller>> {
        let shown = certificate.shown()?;
        let callers = self.0.load();
        let mut found = shown.names.iter().filter_map(|name| callers.get(name));
        let caller = found.next()?;
        if found.any(|other| !Arc::ptr_eq(caller, other)) {
            tracing::debug!(
                "the names of a certificate belong to several callers: it is taken for none"
            );
            return None;
        }
        (shown.is_good)().then(|| Arc::clone(caller))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    const FILE: &str = r#"
        [[caller]]
        name = "sender"
        certificate_names = ["spiffe://acme.example/sender", "Sender.acme.example"]
        businesses = ["acme"]
        permissions = ["check"]

        [[caller]]
        name = "ops"
        certificate_names = ["ops.acme.example"]
        all_businesses = true
        permissions = ["catalogue", "operate"]
    "#;

    fn callers(text: &str) -> CertificateCallers {
        let callers = CertificateCallers::default();
        callers.replace(ReadCallers::read(text).unwrap());
        callers
    }

    fn showing(names: &[Name]) -> Certificate {
        let certificate = Certificate::expected();
        certificate.shows(names.to_vec(), || true);
        certificate
    }

    #[test]
    fn a_certificate_is_its_callers_by_any_of_its_whole_names() {
        let callers = callers(FILE);
        let (uri, dns) = (Name::uri, Name::dns);
        for (names, caller) in [
            (vec![uri("spiffe://acme.example/sender")], Some("sender")),
            (vec![dns("SENDER.acme.example")], Some("sender")),
            (vec![dns("x.example"), dns("ops.acme.example")], Some("ops")),
            (
                vec![
                    uri("spiffe://acme.example/sender"),
                    dns("sender.acme.example"),
                ],
                Some("sender"),
            ),
            (vec![], None),
            (vec![uri("spiffe://acme.example/sender/x")], None),
            (vec![uri("SPIFFE://acme.example/sender")], None),
            (vec![dns("acme.example")], None),
            (vec![dns("*.acme.example")], None),
            (vec![uri("ops.acme.example")], None),
            (vec![dns("spiffe://acme.example/sender")], None),
            (
                vec![dns("ops.acme.example"), dns("sender.acme.example")],
                None,
            ),
        ] {
            let found = callers.find(&showing(&names));
            let found = found.as_ref().map(|caller| caller.name.as_str());
            assert_eq!(found, caller, "{names:?}");
        }
        assert_eq!(callers.find(&Certificate::default()), None);
        assert_eq!(callers.find(&Certificate::expected()), None);
    }

    #[test]
    fn a_certificate_that_is_no_longer_good_is_nobodys() {
        let callers = callers(FILE);
        let good = Arc::new(AtomicBool::new(true));
        let certificate = Certificate::expected();
        let asked = Arc::clone(&good);
        let names = vec![Name::dns("ops.acme.example")];
        certificate.shows(names, move || asked.load(Ordering::Relaxed));
        assert!(callers.find(&certificate).is_some());
        good.store(false, Ordering::Relaxed);
        assert!(callers.find(&certificate).is_none());
        good.store(true, Ordering::Relaxed);
        callers.replace(ReadCallers::default());
        assert!(callers.find(&certificate).is_none());
    }

    #[test]
    fn a_file_with_a_mistake_is_refused_with_where_it_is() {
        for (from, to, said) in [
            (
                "\"check\"",
                "\"chekc\"",
                "caller `sender`: there is no permission `chekc`",
            ),
            (
                "[\"check\"]",
                "[]",
                "caller `sender`: `permissions` must name at least one",
            ),
            (
                "[\"acme\"]",
                "[]",
                "caller `sender`: expected either `businesses`",
            ),
            (
                "[\"acme\"]",
                "[\"AC ME\"]",
                "caller `sender`: business `AC ME`",
            ),
            (
                "\"ops.acme.example\"",
                "",
                "caller `ops`: `certificate_names` must name",
            ),
            (
                "ops.acme.example",
                "sender.ACME.example",
                "caller `ops`: `sender.ACME.example` is named twice",
            ),
            (
                "ops.acme.example",
                "*.acme.example",
                "`*.acme.example` is no name",
            ),
            ("\"ops\"", "\"O P S\"", "caller `O P S`: `name`"),
            (
                "all_businesses",
                "every_business",
                "line 11: unknown field `every_business`",
            ),
            ("true", "maybe", "line 11: "),
        ] {
            let broken = FILE.replacen(from, to, 1);
            let error = ReadCallers::read(&broken).unwrap_err().to_string();
            assert!(error.contains(said), "{said}: {error}");
        }
        assert_eq!(ReadCallers::read("").unwrap(), ReadCallers::default());
    }
}
