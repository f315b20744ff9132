//! A certificate authority of a test's own: certificates good and bad, and lists of revoked ones.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use consentgate::clock::{Clock, SystemClock};
use consentgate::domain::time::Timestamp;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, DnType,
    ExtendedKeyUsagePurpose, IsCa, KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams,
    SanType, SerialNumber, date_time_ymd,
};
use tonic::transport::{Certificate, ClientTlsConfig, Endpoint, Identity};

/// The name that servers of these tests have in their certificate.
pub const HOST: &str = "localhost";

/// Whoever signs certificates.
pub struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate with its key, in PEM.
#[derive(Debug, Clone)]
pub struct Pair {
    pub certificate: String,
    pub key: String,
    serial: SerialNumber,
}

/// When a certificate or a list is good.
#[derive(Debug, Clone, Copy)]
pub enum Good {
    Now,
    /// It was, until some years ago.
    Once,
    /// For so long from now.
    For(Duration),
}

impl Good {
    fn years(self) -> (i32, i32) {
        match self {
            Self::Now | Self::For(_) => (2020, 4000),
            Self::Once => (2020, 2021),
        }
    }
}

impl Authority {
    pub fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    pub fn pem(&self) -> String {
        self.0.pem()
    }

    /// The certificate of a server on this machine.
    pub fn server(&self) -> Pair {
        let names = [dns(HOST)];
        self.issue(&names, ExtendedKeyUsagePurpose::ServerAuth, Good::Now)
    }

    /// The certificate of a client with these names.
    pub fn client(&self, names: &[SanType], good: Good) -> Pair {
        self.issue(names, ExtendedKeyUsagePurpose::ClientAuth, good)
    }

    fn issue(&self, names: &[SanType], usage: ExtendedKeyUsagePurpose, good: Good) -> Pair {
        static ISSUED: AtomicU64 = AtomicU64::new(1);
        let key = KeyPair::generate().unwrap();
        let serial = ISSUED.fetch_add(1, Ordering::Relaxed);
        let serial = SerialNumber::from_slice(&serial.to_be_bytes());
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.subject_alt_names = names.to_vec();
        params.serial_number = Some(serial.clone());
        params.extended_key_usages = vec![usage];
        let (from, to) = good.years();
        params.not_before = date_time_ymd(from, 1, 1);
        params.not_after = match good {
            Good::Now | Good::Once => date_time_ymd(to, 1, 1),
            Good::For(time) => {
                let now = SystemClock.now().since(Timestamp::EPOCH);
                date_time_ymd(1970, 1, 1) + now + time
            }
        };
        Pair {
            certificate: params.signed_by(&key, &self.0).unwrap().pem(),
            key: key.serialize_pem(),
            serial,
        }
    }

    /// A list of those that are revoked.
    pub fn revoked(&self, pairs: &[&Pair], good: Good) -> String {
        let revoked = pairs.iter().map(|pair| RevokedCertParams {
            serial_number: pair.serial.clone(),
            revocation_time: date_time_ymd(2020, 1, 1),
            reason_code: None,
            invalidity_date: None,
        });
        let (from, to) = good.years();
        let list = CertificateRevocationListParams {
            this_update: date_time_ymd(from, 1, 1),
            next_update: date_time_ymd(to, 1, 1),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: revoked.collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        list.signed_by(&self.0).unwrap().pem().unwrap()
    }
}

pub fn dns(name: &str) -> SanType {
    SanType::DnsName(name.try_into().unwrap())
}

pub fn uri(name: &str) -> SanType {
    SanType::URI(name.try_into().unwrap())
}

/// How a client reaches a gate at `place` that shows a certificate of this authority.
pub fn dial(place: &str, trusted: &Authority, identity: Option<&Pair>) -> Endpoint {
    let mut tls = ClientTlsConfig::new()
        .ca_certificate(Certificate::from_pem(trusted.pem()))
        .domain_name(HOST);
    if let Some(pair) = identity {
        tls = tls.identity(Identity::from_pem(&pair.certificate, &pair.key));
    }
    let url = format!("https://{place}");
    Endpoint::from_shared(url).unwrap().tls_config(tls).unwrap()
}
