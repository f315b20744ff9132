//! What a resource of the catalogue must keep to, whichever way it comes: by file or by gRPC.
//!
//! Pure functions from a value to everything that is wrong with it. What needs the store (is it there
//! already, does a class become weaker) is not judged here, nor is the form of ids, which their types hold.

use aws_lc_rs::digest;
use data_encoding::HEXLOWER;

use crate::domain::address::Address;
use crate::domain::catalog::{Business, BusinessCatalog, Notice, Purpose, Sender};
use crate::domain::id::{Language, SenderId};
use crate::domain::vocabulary::{ConsentType, MessageClass};

/// One thing that is wrong with a resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The field by its name in the contract, as in `aliases[2]`.
    pub field: String,
    /// What the field must be; reads on from its name.
    pub message: String,
}

/// What is accepted where a purpose does not say.
pub const ACCEPTED_CONSENT_TYPES: [ConsentType; 2] =
    [ConsentType::ExplicitlyExpressed, ConsentType::Expressed];

/// The classes that a purpose or a template can have.
pub const CLASSES: [MessageClass; 4] = [
    MessageClass::Marketing,
    MessageClass::Utility,
    MessageClass::Authentication,
    MessageClass::Service,
];

const NAME: usize = 256;
const URL: usize = 2_048;
const NOTICE_TEXT: usize = 4_096;
const TEMPLATES: usize = 1_000;
const TEMPLATE_NAME: usize = 512;
const ALIASES: usize = 16;
const TITLES: usize = 64;
const NOTICE_PURPOSES: usize = 32;
const SIGNUP_IDS: usize = 16;
/// 10,000 years, the longest that protobuf's `Duration` can carry.
const VALIDITY_SECONDS: u64 = 315_576_000_000;
/// 366 days: sends are not remembered for longer.
const CAP_SECONDS: u64 = 366 * 86_400;

/// SHA-256 of a notice's text in UTF-8, hex.
pub fn notice_sha256(text: &str) -> String {
    HEXLOWER.encode(digest::digest(&digest::SHA256, text.as_bytes()).as_ref())
}

pub fn business(business: &Business) -> Vec<Fault> {
    let mut faults = Faults::default();
    faults.required("display_name", &business.display_name, NAME);
    faults.count(
        "template_classes",
        business.template_classes.len(),
        0..=TEMPLATES,
    );
    for (name, class) in &business.template_classes {
        let field = format!("template_classes[{name}]");
        if name.is_empty() || name.chars().count() > TEMPLATE_NAME {
            let message = format!("must have a name of 1 to {TEMPLATE_NAME} characters");
            faults.add("template_classes", message);
        }
        faults.class(&field, *class);
    }
    faults.0
}

pub fn sender(sender: &Sender) -> Vec<Fault> {
    let mut faults = Faults::default();
    faults.length("display_name", &sender.display_name, NAME);
    if !sender.phone_number.is_empty()
        && let Err(error) = Address::from_phone_number(&sender.phone_number)
    {
        faults.add("phone_number", error.to_string());
    }
    faults.length("held_reason", &sender.held_reason, NAME);
    faults.count("aliases", sender.aliases.len(), 0..=ALIASES);
    for (index, alias) in sender.aliases.iter().enumerate() {
        if *alias == sender.sender_id {
            faults.add(format!("aliases[{index}]"), "is the sender's own id");
        } else if sender.aliases[..index].contains(alias) {
            faults.add(
                format!("aliases[{index}]"),
                format!("names `{alias}` again"),
            );
        }
    }
    faults.0
}

/// The first id or alias of `sender` that another sender of the business has too.
pub fn name_taken<'a>(sender: &'a Sender, catalog: &BusinessCatalog) -> Option<&'a SenderId> {
    let mut names = std::iter::once(&sender.sender_id).chain(&sender.aliases);
    names.find(|name| {
        catalog
            .sender(name)
            .is_some_and(|other| other.sender_id != sender.sender_id)
    })
}

pub fn purpose(purpose: &Purpose) -> Vec<Fault> {
    let mut faults = Faults::default();
    faults.required("title", &purpose.title, NAME);
    faults.count(
        "localized_titles",
        purpose.localized_titles.len(),
        0..=TITLES,
    );
    for (language, title) in &purpose.localized_titles {
        let field = format!("localized_titles[{language}]");
        faults.language(&field, language);
        faults.required(&field, title, NAME);
    }
    faults.length("dpv_purpose", &purpose.dpv_purpose, URL);
    faults.class("message_class", purpose.message_class);
    let types = &purpose.accepted_consent_types;
    if types.is_empty() {
        faults.add("accepted_consent_types", "must not be empty");
    }
    for (index, kind) in types.iter().enumerate() {
        if types[..index].contains(kind) {
            faults.add(
                format!("accepted_consent_types[{index}]"),
                format!("names {kind} again"),
            );
        }
    }
    if let Some(seconds) = purpose.validity_seconds
        && !(1..=VALIDITY_SECONDS).contains(&seconds)
    {
        faults.add(
            "validity",
            "must be at least a second and at most 10,000 years",
        );
    }
    if let Some(cap) = &purpose.frequency_cap {
        if cap.messages == 0 {
            faults.add("frequency_cap.messages", "must be at least 1");
        }
        if !(1..=CAP_SECONDS).contains(&cap.per_seconds) {
            let message = "must be at least a second and at most 366 days";
            faults.add("frequency_cap.per", message);
        }
    }
    let class = purpose.message_class;
    if !purpose.consent_required
        && !matches!(class, MessageClass::Utility | MessageClass::Authentication)
    {
        faults.add(
            "consent_required",
            format!("must be true for the class {class}"),
        );
    }
    if purpose.requested_by_recipient && class != MessageClass::Authentication {
        let message =
            format!("must be false for the class {class}: only AUTHENTICATION is asked for");
        faults.add("requested_by_recipient", message);
    }
    faults.0
}

/// Judges a notice against the business, its purposes and the other versions in `catalog`.
pub fn notice(notice: &Notice, catalog: &BusinessCatalog) -> Vec<Fault> {
    let mut faults = Faults::default();
    if notice.name.version < 1 {
        faults.add("version", "must be at least 1");
    }
    faults.language("language", &notice.name.language);
    faults.required("text", &notice.text, NOTICE_TEXT);
    if notice.sha256 != notice_sha256(&notice.text) {
        faults.add("sha256", "is not the SHA-256 of the text");
    }
    faults.count("purposes", notice.purposes.len(), 1..=NOTICE_PURPOSES);
    for (index, key) in notice.purposes.iter().enumerate() {
        if !catalog.purposes.contains_key(key) {
            faults.add(
                format!("purposes[{index}]"),
                format!("the business has no purpose `{key}`"),
            );
        }
        if notice.purposes[..index].contains(key) {
            faults.add(format!("purposes[{index}]"), format!("names `{key}` again"));
        }
    }
    let url = &notice.privacy_notice_url;
    faults.length("privacy_notice_url", url, URL);
    if !url.is_empty() && !url.starts_with("https://") && !url.starts_with("http://") {
        faults.add(
            "privacy_notice_url",
            "must start with `https://` or `http://`",
        );
    }
    faults.length(
        "opt_out_instructions",
        &notice.opt_out_instructions,
        NOTICE_TEXT,
    );
    processing_version(notice, catalog, &mut faults);
    signup_ids(notice, &mut faults);
    if !notice.text.trim().is_empty() {
        wording(notice, catalog, &mut faults);
    }
    faults.0
}

fn processing_version(notice: &Notice, catalog: &BusinessCatalog, faults: &mut Faults) {
    if notice.processing_version < 1 {
        faults.add("processing_version", "must be at least 1");
    }
    let earlier = catalog.notices.values().filter(|other| {
        other.name.notice_id == notice.name.notice_id && other.name.version < notice.name.version
    });
    if let Some(highest) = earlier.max_by_key(|other| other.processing_version)
        && notice.processing_version < highest.processing_version
    {
        let message = format!(
            "must be at least {}, as in {}",
            highest.processing_version, highest.name
        );
        faults.add("processing_version", message);
    }
}

fn signup_ids(notice: &Notice, faults: &mut Faults) {
    faults.count("signup_ids", notice.signup_ids.len(), 0..=SIGNUP_IDS);
    for (index, id) in notice.signup_ids.iter().enumerate() {
        let field = format!("signup_ids[{index}]");
        faults.required(&field, id, NAME);
        if id.chars().any(char::is_control) {
            faults.add(&field, "must not hold control characters");
        }
        if notice.signup_ids[..index].contains(id) {
            faults.add(&field, "is named again");
        }
    }
}

/// Whether the text says what makes a consent informed: who writes, where, what for, how to end it
/// (GDPR Art. 7(3) and recital 42; Meta's opt-in requirements for WhatsApp).
fn wording(notice: &Notice, catalog: &BusinessCatalog, faults: &mut Faults) {
    let text = folded(&notice.text);
    let language = &notice.name.language;
    let business = &catalog.business;
    if !text.contains(&folded(&business.display_name)) {
        faults.add(
            "text",
            format!("must name the business, `{}`", business.display_name),
        );
    }
    if business.whatsapp_must_be_named && !WHATSAPP.iter().any(|name| text.contains(name)) {
        faults.add(
            "text",
            "must name WhatsApp, because the business has `whatsapp_must_be_named` on",
        );
    }
    for purpose in notice
        .purposes
        .iter()
        .filter_map(|key| catalog.purposes.get(key))
    {
        let title = purpose.title_in(language);
        if !text.contains(&folded(title)) {
            let message = format!(
                "must contain the title of the purpose `{}`, `{title}`",
                purpose.key
            );
            faults.add("text", message);
        }
    }
    let instructions = folded(&notice.opt_out_instructions);
    if !instructions.is_empty() {
        if !text.contains(&instructions) {
            faults.add("text", "must contain the `opt_out_instructions`");
        }
    } else if !opt_out_words(language).any(|word| contains_word(&text, word)) {
        let words: Vec<&str> = opt_out_words(language).collect();
        let message = format!(
            "must say how to opt out: set `opt_out_instructions`, or use one of {}",
            words.join(", ")
        );
        faults.add("text", message);
    }
}

/// WhatsApp as it is written in Latin, Arabic, Hebrew and Devanagari letters.
const WHATSAPP: &[&str] = &[
    "whatsapp",
    "واتساب",
    "واتس آب",
    "וואטסאפ",
    "ווטסאפ",
    "व्हाट्सएप",
    "व्हाट्सऐप",
    "वॉट्सऐप",
];

/// Words that tell a reader how to opt out, by language, lower case. A lint for notices, not the
/// matcher of inbound messages, which has to be far more generous.
///
/// From the lists of Twilio, Braze, AWS End User Messaging and Telnyx, the per-se words of 47 CFR
/// 64.1200(a)(10), and opt-out code in public repositories for the other languages.
const OPT_OUT_WORDS: &[(&str, &[&str])] = &[
    (
        "ar",
        &["توقف", "إيقاف", "ايقاف", "إلغاء", "الغاء", "إلغاء الاشتراك"],
    ),
    ("de", &["stopp", "abmelden", "abbestellen"]),
    (
        "en",
        &["unsubscribe", "opt out", "opt-out", "cancel", "quit"],
    ),
    ("es", &["baja", "alto", "parar", "cancelar"]),
    (
        "fr",
        &[
            "arrêt",
            "arret",
            "désabonner",
            "désinscrire",
            "désinscription",
        ],
    ),
    ("he", &["הסר", "הסרה", "בטל"]),
    ("hi", &["बंद करो", "रोको", "band karo", "roko"]),
    ("id", &["berhenti", "batal"]),
    ("it", &["basta", "annulla", "cancella", "disiscrivimi"]),
    ("ms", &["berhenti", "batal"]),
    ("nl", &["afmelden", "uitschrijven"]),
    ("pt", &["parar", "pare", "sair", "cancelar", "descadastrar"]),
    ("ru", &["стоп", "отписаться", "отмена"]),
    ("tr", &["dur", "iptal", "ret", "abonelikten çık"]),
    ("uk", &["стоп", "відписатися", "скасувати"]),
];

/// STOP is understood, and matched, in every language.
fn opt_out_words(language: &Language) -> impl Iterator<Item = &'static str> + use<> {
    let primary = language
        .as_str()
        .split('-')
        .next()
        .unwrap_or_default()
        .to_ascii_lowercase();
    let own = OPT_OUT_WORDS
        .iter()
        .find(|(tag, _)| *tag == primary)
        .map_or(&[][..], |(_, words)| words);
    std::iter::once("stop").chain(own.iter().copied())
}

/// Lower case with single spaces, so that a line break or a capital does not hide a name. Turkish İ
/// becomes a plain i.
fn folded(text: &str) -> String {
    let lower: String = text
        .to_lowercase()
        .chars()
        .filter(|c| *c != '\u{307}')
        .collect();
    lower.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn contains_word(text: &str, word: &str) -> bool {
    text.match_indices(word).any(|(start, found)| {
        let before = text[..start].chars().next_back();
        let after = text[start + found.len()..].chars().next();
        ![before, after]
            .into_iter()
            .flatten()
            .any(char::is_alphanumeric)
    })
}

#[derive(Default)]
struct Faults(Vec<Fault>);

impl Faults {
    fn add(&mut self, field: impl Into<String>, message: impl Into<String>) {
        self.0.push(Fault {
            field: field.into(),
            message: message.into(),
        });
    }

    fn required(&mut self, field: &str, text: &str, max: usize) {
        if text.trim().is_empty() {
            self.add(field, "must not be empty");
        }
        self.length(field, text, max);
    }

    fn length(&mut self, field: &str, text: &str, max: usize) {
        let length = text.chars().count();
        if length > max {
            self.add(
                field,
                format!("must have at most {max} characters, has {length}"),
            );
        }
    }

    fn count(&mut self, field: &str, count: usize, allowed: std::ops::RangeInclusive<usize>) {
        if !allowed.contains(&count) {
            let (min, max) = allowed.into_inner();
            self.add(
                field,
                format!("must have {min} to {max} entries, has {count}"),
            );
        }
    }

    fn class(&mut self, field: &str, class: MessageClass) {
        if !CLASSES.contains(&class) {
            self.add(
                field,
                format!("must be MARKETING, UTILITY, AUTHENTICATION or SERVICE, not {class}"),
            );
        }
    }

    fn language(&mut self, field: &str, language: &Language) {
        let mut subtags = language.as_str().split('-');
        let primary = subtags.next().unwrap_or_default();
        let primary_ok =
            (2..=8).contains(&primary.len()) && primary.bytes().all(|b| b.is_ascii_alphabetic());
        let well_formed = |subtag: &str| {
            (1..=8).contains(&subtag.len()) && subtag.bytes().all(|b| b.is_ascii_alphanumeric())
        };
        if !primary_ok || !subtags.all(well_formed) {
            self.add(field, "must be a BCP 47 tag, as in `de` or `pt-BR`");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::event::tests::purpose as key;
    use crate::domain::id::{NoticeId, NoticeRef};
    use crate::domain::policy::FrequencyCap;
    use crate::domain::rules::tests::{
        business as sound_business, catalog, purpose_of, sender as sender_of,
    };
    use crate::domain::time::Timestamp;

    const TEXT: &str =
        "Acme GmbH may send you offers by WhatsApp. Reply STOP at any time to end it.";

    fn sound_notice(text: &str, language: &str) -> Notice {
        Notice {
            name: NoticeRef {
                notice_id: NoticeId::parse("signup").unwrap(),
                version: 2,
                language: Language::parse(language).unwrap(),
            },
            text: text.into(),
            purposes: vec![key("offers")],
            sha256: notice_sha256(text),
            privacy_notice_url: String::new(),
            opt_out_instructions: String::new(),
            processing_version: 1,
            signup_ids: Vec::new(),
            create_time: Timestamp::EPOCH,
        }
    }

    fn fields(faults: &[Fault]) -> Vec<&str> {
        faults.iter().map(|fault| fault.field.as_str()).collect()
    }

    fn faults_of_text(text: &str, language: &str) -> Vec<String> {
        notice(&sound_notice(text, language), &catalog())
            .into_iter()
            .map(|fault| fault.message)
            .collect()
    }

    #[test]
    fn the_hash_of_a_notice_is_that_of_its_bytes() {
        assert_eq!(
            notice_sha256("abc"),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
    }

    #[test]
    fn what_is_sound_has_no_fault() {
        assert_eq!(business(&sound_business()), []);
        assert_eq!(sender(&sender_of("1001")), []);
        assert_eq!(purpose(&purpose_of("offers", MessageClass::Marketing)), []);
        assert_eq!(notice(&sound_notice(TEXT, "en"), &catalog()), []);
    }

    #[test]
    fn every_fault_of_a_business_is_found() {
        let mut bad = sound_business();
        bad.display_name = " ".into();
        bad.template_classes
            .insert("ask".into(), MessageClass::ConsentRequest);
        bad.template_classes
            .insert("x".repeat(513), MessageClass::Utility);
        assert_eq!(
            fields(&business(&bad)),
            ["display_name", "template_classes[ask]", "template_classes"]
        );
        bad.template_classes = (0..1_001)
            .map(|n| (n.to_string(), MessageClass::Utility))
            .collect();
        bad.display_name = "x".repeat(257);
        assert_eq!(
            fields(&business(&bad)),
            ["display_name", "template_classes"]
        );
    }

    #[test]
    fn every_fault_of_a_sender_is_found() {
        let id = |text: &str| SenderId::parse(text).unwrap();
        let mut bad = sender_of("1001");
        bad.display_name = "x".repeat(257);
        bad.phone_number = "0151 2345678".into();
        bad.held_reason = "x".repeat(257);
        bad.aliases = vec![id("1001"), id("a"), id("a")];
        assert_eq!(
            fields(&sender(&bad)),
            [
                "display_name",
                "phone_number",
                "held_reason",
                "aliases[0]",
                "aliases[2]"
            ]
        );
        bad = sender_of("1001");
        bad.aliases = (0..17).map(|n| id(&format!("alias-{n}"))).collect();
        assert_eq!(fields(&sender(&bad)), ["aliases"]);
    }

    #[test]
    fn a_name_of_another_sender_is_taken_and_ones_own_is_not() {
        let catalog = catalog();
        let mut new = sender_of("2001");
        assert_eq!(name_taken(&new, &catalog), None);
        new.aliases = vec![SenderId::parse("1002").unwrap()];
        assert_eq!(
            name_taken(&new, &catalog).map(SenderId::as_str),
            Some("1002")
        );
        assert_eq!(name_taken(&catalog.senders["1002"], &catalog), None);
    }

    #[test]
    fn every_fault_of_a_purpose_is_found() {
        let mut bad = purpose_of("offers", MessageClass::Marketing);
        bad.title = String::new();
        bad.localized_titles = [("de", ""), ("not_a_tag", "x")]
            .map(|(l, t)| (Language::parse(l).unwrap(), t.into()))
            .into();
        bad.dpv_purpose = "x".repeat(2_049);
        bad.accepted_consent_types = vec![ConsentType::Expressed, ConsentType::Expressed];
        bad.validity_seconds = Some(0);
        bad.frequency_cap = Some(FrequencyCap {
            messages: 0,
            per_seconds: 0,
        });
        bad.consent_required = false;
        bad.requested_by_recipient = true;
        assert_eq!(
            fields(&purpose(&bad)),
            [
                "title",
                "localized_titles[de]",
                "localized_titles[not_a_tag]",
                "dpv_purpose",
                "accepted_consent_types[1]",
                "validity",
                "frequency_cap.messages",
                "frequency_cap.per",
                "consent_required",
                "requested_by_recipient"
            ]
        );
    }

    #[test]
    fn a_cap_counts_no_further_back_than_sends_are_remembered() {
        let capped = |messages, per_seconds| {
            let mut capped = purpose_of("offers", MessageClass::Marketing);
            capped.frequency_cap = Some(FrequencyCap {
                messages,
                per_seconds,
            });
            purpose(&capped)
        };
        assert_eq!(capped(1, 1), []);
        assert_eq!(capped(u32::MAX, 366 * 86_400), []);
        assert_eq!(fields(&capped(1, 366 * 86_400 + 1)), ["frequency_cap.per"]);
    }

    #[test]
    fn only_messages_that_are_not_promotional_may_go_without_consent() {
        for (class, allowed) in [
            (MessageClass::Marketing, false),
            (MessageClass::Utility, true),
            (MessageClass::Authentication, true),
            (MessageClass::Service, false),
        ] {
            let mut free = purpose_of("x", class);
            free.consent_required = false;
            assert_eq!(purpose(&free).is_empty(), allowed, "{class}");
        }
        let asking = purpose_of("x", MessageClass::ConsentRequest);
        assert_eq!(fields(&purpose(&asking)), ["message_class"]);
    }

    #[test]
    fn every_fault_of_a_notice_is_found() {
        let mut bad = sound_notice(TEXT, "english!");
        bad.name.version = 0;
        bad.sha256 = "00".into();
        bad.purposes = vec![key("offers"), key("gifts"), key("offers")];
        bad.privacy_notice_url = "acme.example/privacy".into();
        bad.processing_version = 0;
        bad.signup_ids = vec!["a".into(), String::new(), "a".into(), "b\n".into()];
        assert_eq!(
            fields(&notice(&bad, &catalog())),
            [
                "version",
                "language",
                "sha256",
                "purposes[1]",
                "purposes[2]",
                "privacy_notice_url",
                "processing_version",
                "signup_ids[1]",
                "signup_ids[2]",
                "signup_ids[3]"
            ]
        );
        bad = sound_notice("", "en");
        bad.purposes.clear();
        assert_eq!(fields(&notice(&bad, &catalog())), ["text", "purposes"]);
    }

    #[test]
    fn a_text_must_say_who_writes_where_what_for_and_how_to_end_it() {
        assert_eq!(
            faults_of_text("Tick here.", "en"),
            [
                "must name the business, `Acme GmbH`",
                "must name WhatsApp, because the business has `whatsapp_must_be_named` on",
                "must contain the title of the purpose `offers`, `offers`",
                "must say how to opt out: set `opt_out_instructions`, or use one of stop, unsubscribe, opt out, opt-out, cancel, quit",
            ]
        );
    }

    #[test]
    fn capitals_and_line_breaks_do_not_hide_a_name() {
        assert_eq!(
            faults_of_text("ACME\n GMBH sends OFFERS by Whatsapp. Unsubscribe!", "en"),
            [""; 0]
        );
    }

    #[test]
    fn an_opt_out_word_counts_as_a_word_of_its_own_in_the_notices_language() {
        let with = |words: &str| format!("Acme GmbH, WhatsApp, offers. {words}");
        for (words, language, ok) in [
            ("Antworten Sie STOPP.", "de", true),
            ("Responda \u{ab}BAJA\u{bb}.", "es-MX", true),
            ("Responda SAIR.", "pt-BR", true),
            ("Répondez STOP.", "fr", true),
            ("İPTAL yazın.", "tr", true),
            ("Напишите «стоп».", "ru", true),
            ("أرسل إيقاف", "ar", true),
            ("Nonstop fun.", "en", false),
            ("Responda SAIR.", "en", false),
        ] {
            assert_eq!(
                faults_of_text(&with(words), language).is_empty(),
                ok,
                "{words}"
            );
        }
    }

    #[test]
    fn own_instructions_must_stand_in_the_text() {
        let mut own = sound_notice(
            "Acme GmbH, WhatsApp, offers. Tap  the bell\nto end it.",
            "en",
        );
        own.opt_out_instructions = "Tap the bell to end it.".into();
        assert_eq!(notice(&own, &catalog()), []);
        own.opt_out_instructions = "Call us.".into();
        assert_eq!(
            notice(&own, &catalog())[0].message,
            "must contain the `opt_out_instructions`"
        );
    }

    #[test]
    fn whatsapp_need_not_be_named_where_the_business_says_so() {
        let mut catalog = catalog();
        catalog.business.whatsapp_must_be_named = false;
        let silent = sound_notice("Acme GmbH, offers. Reply STOP.", "en");
        assert_eq!(notice(&silent, &catalog), []);
    }

    #[test]
    fn a_title_is_looked_for_in_the_language_of_the_notice() {
        let mut catalog = catalog();
        let offers = catalog.purposes.get_mut("offers").unwrap();
        offers
            .localized_titles
            .insert(Language::parse("de").unwrap(), "Angebote".into());
        let english = sound_notice(TEXT, "de");
        assert_eq!(
            notice(&english, &catalog)[0].message,
            "must contain the title of the purpose `offers`, `Angebote`"
        );
    }

    #[test]
    fn the_processing_version_never_goes_back() {
        let mut catalog = catalog();
        let mut first = sound_notice(TEXT, "de");
        first.name.version = 1;
        first.processing_version = 2;
        catalog.notices.insert(first.name.clone(), first);
        assert_eq!(
            notice(&sound_notice(TEXT, "en"), &catalog)[0].message,
            "must be at least 2, as in signup v1 (de)"
        );
    }
}
