//! Places of numbers as they are dialled, what holds of the data as a whole, and libphonenumber as a
//! witness for whose number it is.

use std::collections::BTreeSet;

use super::*;
use crate::domain::phone::{Existence, existence};
use table::rows;

fn number(digits: &str) -> &'static Place {
    of(&Address::from_wa_id(digits).unwrap())
}

fn names(place: &Place) -> Vec<&str> {
    place
        .jurisdictions
        .iter()
        .map(JurisdictionCode::as_str)
        .collect()
}

fn zones(place: &Place) -> Vec<&'static str> {
    place.zones.iter().map(|zone| zone.name()).collect()
}

fn zone_names(code: &str) -> Vec<&'static str> {
    let found = zones_of(&JurisdictionCode::parse(code).unwrap());
    found.iter().map(|zone| zone.name()).collect()
}

fn countries(place: &Place) -> BTreeSet<String> {
    let codes = place.jurisdictions.iter();
    codes.map(|code| code.country().to_string()).collect()
}

/// Numbers, mostly of mobile phones, from all parts of the world; the places of one clock.
const NUMBERS: [(&str, &str, &str); 92] = [
    ("201001234567", "EG", "Africa/Cairo"),
    ("211977123456", "SS", "Africa/Juba"),
    ("213551234567", "DZ", "Africa/Algiers"),
    ("21620123456", "TN", "Africa/Tunis"),
    ("218912345678", "LY", "Africa/Tripoli"),
    ("221701234567", "SN", "Africa/Dakar"),
    ("2250123456789", "CI", "Africa/Abidjan"),
    ("231770123456", "LR", "Africa/Monrovia"),
    ("233231234567", "GH", "Africa/Accra"),
    ("2348021234567", "NG", "Africa/Lagos"),
    ("237671234567", "CM", "Africa/Douala"),
    ("2389911234", "CV", "Atlantic/Cape_Verde"),
    ("244923123456", "AO", "Africa/Luanda"),
    ("24740123", "SH", "Atlantic/St_Helena"),
    ("250720123456", "RW", "Africa/Kigali"),
    ("251911234567", "ET", "Africa/Addis_Ababa"),
    ("254712123456", "KE", "Africa/Nairobi"),
    ("255621234567", "TZ", "Africa/Dar_es_Salaam"),
    ("256712345678", "UG", "Africa/Kampala"),
    ("258821234567", "MZ", "Africa/Maputo"),
    ("260955123456", "ZM", "Africa/Lusaka"),
    ("261321234567", "MG", "Indian/Antananarivo"),
    ("262692123456", "RE", "Indian/Reunion"),
    ("262639012345", "YT", "Indian/Mayotte"),
    ("263712345678", "ZW", "Africa/Harare"),
    ("264811234567", "NA", "Africa/Windhoek"),
    ("2908999", "SH", "Atlantic/St_Helena"),
    ("27711234567", "ZA", "Africa/Johannesburg"),
    ("306912345678", "GR", "Europe/Athens"),
    ("31612345678", "NL", "Europe/Amsterdam"),
    ("32450001234", "BE", "Europe/Brussels"),
    ("33612345678", "FR", "Europe/Paris"),
    ("352628123456", "LU", "Europe/Luxembourg"),
    ("353850123456", "IE", "Europe/Dublin"),
    ("3546111234", "IS", "Atlantic/Reykjavik"),
    ("358412345678", "FI", "Europe/Helsinki"),
    ("3581812345", "AX", "Europe/Mariehamn"),
    ("37061234567", "LT", "Europe/Vilnius"),
    ("37121234567", "LV", "Europe/Riga"),
    ("37251234567", "EE", "Europe/Tallinn"),
    ("375294911911", "BY", "Europe/Minsk"),
    ("37866661212", "SM", "Europe/San_Marino"),
    ("380501234567", "UA", "Europe/Kyiv"),
    ("38343201234", "XK", "Europe/Belgrade"),
    ("393123456789", "IT", "Europe/Rome"),
    ("390669812345", "VA", "Europe/Vatican"),
    ("40712034567", "RO", "Europe/Bucharest"),
    ("41781234567", "CH", "Europe/Zurich"),
    ("43664123456", "AT", "Europe/Vienna"),
    ("447400123456", "GB", "Europe/London"),
    ("442079460958", "GB", "Europe/London"),
    ("447781123456", "GG", "Europe/Guernsey"),
    ("447797712345", "JE", "Europe/Jersey"),
    ("447624123456", "IM", "Europe/Isle_of_Man"),
    ("4534412345", "DK", "Europe/Copenhagen"),
    ("46701234567", "SE", "Europe/Stockholm"),
    ("4740612345", "NO", "Europe/Oslo"),
    ("4779021234", "SJ", "Arctic/Longyearbyen"),
    ("48512345678", "PL", "Europe/Warsaw"),
    ("4915112345678", "DE", "Europe/Berlin"),
    ("50251234567", "GT", "America/Guatemala"),
    ("50581234567", "NI", "America/Managua"),
    ("51912345678", "PE", "America/Lima"),
    ("5491123456789", "AR", "America/Argentina/Buenos_Aires"),
    ("541123456789", "AR", "America/Argentina/Buenos_Aires"),
    ("573211234567", "CO", "America/Bogota"),
    ("584121234567", "VE", "America/Caracas"),
    ("5993181234", "BQ", "America/Kralendijk"),
    ("59995181234", "CW", "America/Curacao"),
    ("60123456789", "MY", "Asia/Kuching"),
    ("639051234567", "PH", "Asia/Manila"),
    ("6581234567", "SG", "Asia/Singapore"),
    ("66812345678", "TH", "Asia/Bangkok"),
    ("77710009998", "KZ", "Asia/Almaty"),
    ("819012345678", "JP", "Asia/Tokyo"),
    ("821020000000", "KR", "Asia/Seoul"),
    ("84912345678", "VN", "Asia/Ho_Chi_Minh"),
    ("8613123456789", "CN", "Asia/Shanghai"),
    ("85251234567", "HK", "Asia/Hong_Kong"),
    ("886912345678", "TW", "Asia/Taipei"),
    ("905012345678", "TR", "Europe/Istanbul"),
    ("918123456789", "IN", "Asia/Kolkata"),
    ("923012345678", "PK", "Asia/Karachi"),
    ("94712345678", "LK", "Asia/Colombo"),
    ("9592123456", "MM", "Asia/Yangon"),
    ("966512345678", "SA", "Asia/Riyadh"),
    ("970599123456", "PS", "Asia/Gaza"),
    ("971501234567", "AE", "Asia/Dubai"),
    ("972502345678", "IL", "Asia/Jerusalem"),
    ("9779841234567", "NP", "Asia/Kathmandu"),
    ("989123456789", "IR", "Asia/Tehran"),
    ("998912345678", "UZ", "Asia/Tashkent"),
];

#[test]
fn a_number_is_in_its_country_and_on_its_clock() {
    for (digits, country, zone) in NUMBERS {
        let place = number(digits);
        assert_eq!(names(place), [country], "{digits}");
        assert_eq!(zones(place), [zone], "{digits}");
    }
    let distinct: BTreeSet<&str> = NUMBERS.iter().map(|(_, country, _)| *country).collect();
    assert!(distinct.len() >= 60);
}

#[test]
fn an_area_code_of_plus_1_is_a_state_or_a_country() {
    for (digits, jurisdiction, zones_there) in [
        ("12125550123", "US-NY", &["America/New_York"][..]),
        ("13125550123", "US-IL", &["America/Chicago"]),
        ("14155552671", "US-CA", &["America/Los_Angeles"]),
        ("18085550123", "US-HI", &["Pacific/Honolulu"]),
        ("12025550123", "US-DC", &["America/New_York"]),
        ("14805550123", "US-AZ", &["America/Phoenix"]),
        ("19155550123", "US-TX", &["America/Denver"]),
        ("12145550123", "US-TX", &["America/Chicago"]),
        ("14165550123", "CA", &["America/Toronto"]),
        ("13065550123", "CA", &["America/Regina"]),
        ("17875550123", "PR", &["America/Puerto_Rico"]),
        ("16715550123", "GU", &["Pacific/Guam"]),
        ("13405550123", "VI", &["America/St_Thomas"]),
        ("16845550123", "AS", &["Pacific/Pago_Pago"]),
        ("16705550123", "MP", &["Pacific/Saipan"]),
        ("18765550123", "JM", &["America/Jamaica"]),
        ("16585550123", "JM", &["America/Jamaica"]),
        ("18095550123", "DO", &["America/Santo_Domingo"]),
        ("12425550123", "BS", &["America/Nassau"]),
        ("18685550123", "TT", &["America/Port_of_Spain"]),
    ] {
        let place = number(digits);
        assert_eq!(names(place), [jurisdiction], "{digits}");
        assert_eq!(zones(place), zones_there, "{digits}");
    }
}

#[test]
fn an_area_code_across_a_border_of_zones_has_both() {
    for (digits, jurisdiction, both) in [
        // The Florida panhandle and the code laid over it, western Kentucky, Indiana, Tennessee.
        (
            "18505550123",
            "US-FL",
            ["America/New_York", "America/Chicago"],
        ),
        (
            "14485550123",
            "US-FL",
            ["America/New_York", "America/Chicago"],
        ),
        (
            "13645550123",
            "US-KY",
            ["America/New_York", "America/Chicago"],
        ),
        (
            "19305550123",
            "US-IN",
            ["America/New_York", "America/Chicago"],
        ),
        (
            "14235550123",
            "US-TN",
            ["America/Chicago", "America/New_York"],
        ),
        (
            "12085550123",
            "US-ID",
            ["America/Boise", "America/Los_Angeles"],
        ),
        (
            "19865550123",
            "US-ID",
            ["America/Boise", "America/Los_Angeles"],
        ),
        (
            "19285550123",
            "US-AZ",
            ["America/Phoenix", "America/Denver"],
        ),
    ] {
        let place = number(digits);
        assert_eq!(names(place), [jurisdiction], "{digits}");
        assert_eq!(zones(place), both, "{digits}");
    }
    assert_eq!(zones(number("14075550123")), ["America/New_York"]);
    assert_eq!(zones(number("16895550123")), ["America/New_York"]);
    // An exchange that is listed: Pensacola.
    assert_eq!(zones(number("18502000123")), ["America/Chicago"]);
}

#[test]
fn free_and_unassigned_numbers_of_plus_1_may_be_anywhere_in_it() {
    let everywhere = number("18005550123");
    let found: BTreeSet<&str> = names(everywhere).into_iter().collect();
    assert_eq!(countries(everywhere).len(), 25);
    for code in ["US", "US-TX", "US-FL", "CA", "JM", "DO", "PR"] {
        assert!(found.contains(code), "{code}");
    }
    assert_eq!(found.len(), 25 + 51);
    for zone in [
        "America/St_Johns",
        "Pacific/Honolulu",
        "Pacific/Guam",
        "America/New_York",
    ] {
        assert!(zones(everywhere).contains(&zone), "{zone}");
    }
    assert_eq!(zones(everywhere)[0], "America/New_York");
    for digits in [
        "18885550123",
        "19005550123",
        "15005550123",
        "15335550123",
        "12995550123",
        "11234567890",
    ] {
        assert_eq!(number(digits), everywhere, "{digits}");
    }
}

#[test]
fn plus_7_is_kazakhstan_or_russia() {
    assert_eq!(names(number("77011234567")), ["KZ"]);
    let mobile = number("79161234567");
    assert_eq!(names(mobile), ["RU"]);
    for zone in ["Europe/Moscow", "Europe/Kaliningrad", "Asia/Kamchatka"] {
        assert!(zones(mobile).contains(&zone), "{zone}");
    }
    assert!(!zones(mobile).contains(&"Asia/Almaty"));
    assert_eq!(zones(number("74951234567")), ["Europe/Moscow"]);
    assert_eq!(zones(number("74012123456")), ["Europe/Kaliningrad"]);
    assert_eq!(zones(number("74232123456")), ["Asia/Vladivostok"]);
    for neither in ["75001234567", "76001234567", "78001234567"] {
        assert_eq!(names(number(neither)), ["KZ", "RU"], "{neither}");
    }
    // A Russian number as it is dialled at home.
    assert_eq!(number("89161234567"), mobile);
}

#[test]
fn every_spelling_of_a_number_is_in_the_same_place() {
    for (one, other, country, first) in [
        ("525512345678", "5215512345678", "MX", "America/Mexico_City"),
        ("526641234567", "5216641234567", "MX", "America/Tijuana"),
        ("5511987654321", "551187654321", "BR", "America/Sao_Paulo"),
        ("5592987654321", "559287654321", "BR", "America/Manaus"),
        (
            "541123456789",
            "5491123456789",
            "AR",
            "America/Argentina/Buenos_Aires",
        ),
    ] {
        assert_eq!(number(one), number(other), "{one}");
        assert_eq!(names(number(one)), [country], "{one}");
        assert_eq!(zones(number(one)), [first], "{one}");
    }
}

#[test]
fn a_mobile_number_without_an_area_may_be_in_every_zone_of_its_country() {
    for (digits, country, some) in [
        (
            "61412345678",
            "AU",
            &[
                "Australia/Sydney",
                "Australia/Perth",
                "Indian/Christmas",
                "Indian/Cocos",
            ][..],
        ),
        ("34612345678", "ES", &["Europe/Madrid", "Atlantic/Canary"]),
        ("351912345678", "PT", &["Europe/Lisbon", "Atlantic/Azores"]),
        (
            "62812345678",
            "ID",
            &["Asia/Jakarta", "Asia/Makassar", "Asia/Jayapura"],
        ),
        ("56921234567", "CL", &["America/Santiago", "Pacific/Easter"]),
        (
            "593991234567",
            "EC",
            &["America/Guayaquil", "Pacific/Galapagos"],
        ),
        (
            "64211234567",
            "NZ",
            &["Pacific/Auckland", "Pacific/Chatham"],
        ),
        (
            "243991234567",
            "CD",
            &["Africa/Kinshasa", "Africa/Lubumbashi"],
        ),
        ("97688123456", "MN", &["Asia/Ulaanbaatar", "Asia/Hovd"]),
    ] {
        let place = number(digits);
        assert_eq!(names(place), [country], "{digits}");
        for zone in some {
            assert!(zones(place).contains(zone), "{digits}: {zone}");
        }
        assert_eq!(zones(place)[0], some[0], "{digits}");
    }
    assert_eq!(zones(number("61291234567")), ["Australia/Sydney"]);
    assert_eq!(zones(number("34922123456")), ["Atlantic/Canary"]);
}

#[test]
fn where_countries_share_numbers_all_of_them_count() {
    for (digits, all) in [
        ("590690001234", &["BL", "GP", "MF"][..]),
        ("212650123456", &["EH", "MA"]),
        ("440000000000", &["GB", "GG", "IM", "JE"]),
        ("393999999999999", &["IT", "VA"]),
    ] {
        let place = number(digits);
        assert!(
            countries(place)
                .iter()
                .all(|one| all.contains(&one.as_str())),
            "{digits}: {place:?}"
        );
        assert!(!place.zones.is_empty(), "{digits}");
    }
    assert_eq!(names(number("590690001234")), ["BL", "GP", "MF"]);
    assert_eq!(names(number("212650123456")), ["EH", "MA"]);
}

#[test]
fn a_number_of_no_country_has_no_place() {
    for digits in [
        "80012345678",
        "870773123456",
        "8811234567890",
        "999123456789",
        "2101234567",
        "0",
    ] {
        let place = TABLE.of_number(digits.parse().unwrap());
        assert_eq!(*place, Place::default(), "{digits}");
    }
}

#[test]
fn a_number_shorter_than_its_prefix_is_what_is_known_of_it() {
    assert_eq!(TABLE.of_number(49), number("4915112345678"));
    assert_eq!(TABLE.of_number(1), number("18005550123"));
    assert_eq!(*TABLE.of_number(5), Place::default());
    assert_eq!(
        zones(TABLE.of_number(1_208)),
        ["America/Boise", "America/Los_Angeles"]
    );
    assert_eq!(TABLE.of_number(120_820), TABLE.of_number(1_208));
    assert_eq!(zones(TABLE.of_number(1_208_201)), ["America/Denver"]);
    assert_eq!(*TABLE.of_number(u64::MAX), Place::default());
}

#[test]
fn a_user_id_is_in_the_country_of_its_two_letters() {
    let of_id = |id: &str| of(&Address::from_user_id(id).unwrap());
    let germany = of_id("DE.1502576394655843");
    assert_eq!(names(germany), ["DE"]);
    assert_eq!(zones(germany), ["Europe/Berlin"]);
    let states = of_id("US.ENT.11815799212886844830");
    assert_eq!(states.jurisdictions.len(), 1 + 51);
    assert_eq!(countries(states), BTreeSet::from(["US".to_owned()]));
    assert_eq!(zones(states), zone_names("US"));
    assert_eq!(*of_id("ZZ.1"), Place::default());
    assert_eq!(*of_id("EU.1"), Place::default());
}

#[test]
fn zones_of_a_jurisdiction_are_the_widest_first() {
    assert_eq!(zone_names("DE"), ["Europe/Berlin"]);
    assert_eq!(zone_names("US-TX"), ["America/Chicago", "America/Denver"]);
    assert_eq!(zone_names("US-FL")[0], "America/New_York");
    assert_eq!(zone_names("US-AK")[0], "America/Anchorage");
    assert_eq!(zone_names("US")[0], "America/New_York");
    assert_eq!(zone_names("US").len(), 8);
    assert_eq!(zone_names("CA")[0], "America/Toronto");
    assert_eq!(zone_names("BR")[0], "America/Sao_Paulo");
    assert_eq!(zone_names("RU")[0], "Europe/Moscow");
    assert_eq!(zone_names("AU")[0], "Australia/Sydney");
    assert_eq!(zone_names("MX")[0], "America/Mexico_City");
    assert_eq!(zone_names("GB-ENG"), ["Europe/London"]);
    assert_eq!(zone_names("US-ZZ"), zone_names("US"));
    assert_eq!(zone_names("ZZ"), [""; 0]);
}

#[test]
fn every_state_has_an_area_code_and_zones() {
    let mut reached = BTreeSet::new();
    for area in 200..1_000 {
        let place = number(&format!("1{area}5550123"));
        if place.jurisdictions.len() == 1 {
            reached.extend(names(place));
        }
    }
    let states: BTreeSet<&str> = rows::<2>(super::ZONES)
        .map(|[name, _]| name)
        .filter(|name| name.starts_with("US-"))
        .collect();
    assert_eq!(
        states.len(),
        51,
        "fifty states and the District of Columbia"
    );
    for state in states {
        assert!(reached.contains(state), "{state}");
        assert!(!zone_names(state).is_empty(), "{state}");
    }
}

#[test]
fn the_data_are_sorted_without_repetition() {
    let prefixes: Vec<&str> = rows::<3>(PLACES).map(|[prefix, ..]| prefix).collect();
    assert!(prefixes.is_sorted_by(|a, b| a < b));
    let plausible = |p: &&str| (1..=11).contains(&p.len()) && p.bytes().all(|b| b.is_ascii_digit());
    assert!(prefixes.iter().all(plausible) && !prefixes.iter().any(|p| p.starts_with('0')));
    let names: Vec<&str> = rows::<2>(super::ZONES).map(|[name, _]| name).collect();
    assert!(names.is_sorted_by(|a, b| a < b));
    for [prefix, jurisdictions, zones] in rows::<3>(PLACES) {
        let jurisdictions: Vec<&str> = jurisdictions.split(' ').collect();
        assert!(jurisdictions.is_sorted_by(|a, b| a < b), "{prefix}");
        let distinct: BTreeSet<&str> = zones.split(' ').collect();
        assert_eq!(distinct.len(), zones.split(' ').count(), "{prefix}");
    }
}

#[test]
fn every_zone_that_is_named_is_in_the_bundled_database() {
    let places = rows::<3>(PLACES).map(|[.., zones]| zones);
    let jurisdictions = rows::<2>(super::ZONES).map(|[_, zones]| zones);
    for zone in places
        .chain(jurisdictions)
        .flat_map(|zones| zones.split(' '))
    {
        assert!(Zone::named(zone).is_some(), "{zone}");
    }
}

#[test]
fn every_place_that_is_named_has_zones_of_its_own() {
    let known: BTreeSet<&str> = rows::<2>(super::ZONES).map(|[name, _]| name).collect();
    for [prefix, jurisdictions, _] in rows::<3>(PLACES) {
        for name in jurisdictions.split(' ') {
            assert!(known.contains(name), "{prefix}: {name}");
        }
    }
}

/// Whatever libphonenumber calls a valid number of a country may be there, for numbers of every row.
#[test]
fn no_valid_number_is_outside_of_its_place() {
    let mut valid = 0;
    for ([prefix, ..], salt) in rows::<3>(PLACES).zip(1_u64..) {
        for length in 8..=13 {
            // Of +1 only 11 digits can be called from abroad; shorter ones are dialled in Canada alone.
            if prefix.starts_with('1') && length != 11 {
                continue;
            }
            let Some(missing) = u32::try_from(length - prefix.len().min(length)).ok() else {
                continue;
            };
            // Digits as good as random, the same in each run.
            let tail = salt.wrapping_mul(0x9E37_79B9_7F4A_7C15) % 10_u64.pow(missing);
            let number: u64 = format!("{prefix}{tail:0width$}", width = missing as usize)
                .parse()
                .unwrap();
            let address = Address::from_wa_id(&number.to_string()).unwrap();
            let Existence::Valid(Some(country)) = existence(&address) else {
                continue;
            };
            valid += 1;
            let country = match country.as_str() {
                "AC" | "TA" => "SH",
                other => other,
            };
            let place = of(&address);
            assert!(
                countries(place).contains(country),
                "{number}: {country}, {place:?}"
            );
        }
    }
    assert!(valid > 2_000, "{valid}");
}

#[test]
fn the_data_have_a_digest() {
    assert_eq!(sha256().len(), 64);
}
