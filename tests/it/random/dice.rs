//! Cases by chance: the same seed gives the same case, on any machine.

use std::time::Duration;

use consentgate::grpc::proto::{
    ConsentType, ImpliedBasis, MessageClass, RegistryResult, SuppressionBasis,
};

use super::acts::{
    ADDRESSES, Act, By, CASTS, Command, Give, Heard, PURPOSES, Question, Scope, Told,
};

/// Countries of which a number says more than the country: which clocks it goes by.
const SEVERAL_ZONES: [&str; 2] = ["MX", "CA"];

const SENDERS: [&str; 4] = ["1001", "1001", "1002", "alias-of-1001"];
const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

/// What passes with every command. Whole seconds of it are never the same, so that of two acts of
/// one kind one is the later.
const TICK: Duration = Duration::from_millis(1_037);

/// The ids of commands that come on top of the others, and what their dice begin with.
const FIRST_ERASED: usize = 100;
const FIRST_ROTATED: usize = 200;
const ERASED: u64 = 0x0e7a_5ed0_0000_0001;
const ROTATED: u64 = 0x0f07_a7ed_0000_0001;

/// splitmix64, by Sebastiano Vigna (public domain).
#[derive(Debug, Clone)]
pub struct Dice(u64);

impl Dice {
    pub fn of(seed: u64) -> Self {
        Self(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, count: usize) -> usize {
        let count = u64::try_from(count).unwrap();
        usize::try_from(self.next() % count).unwrap()
    }

    fn one_in(&mut self, count: usize) -> bool {
        self.below(count) == 0
    }

    pub fn pick<T: Clone>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())].clone()
    }
}

/// A random history of some people, and what is asked after each step.
#[derive(Debug, Clone)]
pub struct Case {
    /// How long after the server's start the first command comes.
    pub begins: Duration,
    pub cast: Vec<usize>,
    pub commands: Vec<Command>,
    seed: u64,
    pub business: usize,
    purposes: Vec<&'static str>,
}

impl Case {
    pub fn of(seed: u64) -> Self {
        let mut dice = Dice::of(seed);
        let first = dice.pick(&CASTS);
        let second = dice.pick(&CASTS);
        let mut cast = first.to_vec();
        if dice.one_in(3) {
            cast.extend(second.iter().filter(|one| !first.contains(one)));
        }
        let mut purposes = vec!["offers"];
        for _ in 0..2 {
            let another = dice.pick(&PURPOSES);
            if !purposes.contains(&another) {
                purposes.push(another);
            }
        }
        let mut case = Self {
            begins: Duration::from_secs(dice.next() % (300 * DAY)),
            cast,
            commands: Vec::new(),
            seed,
            business: dice.below(2),
            purposes,
        };
        let count = 6 + dice.below(19);
        for id in 0..count {
            let command = case.command(&mut dice, id);
            case.commands.push(command);
        }
        case.with_erasures();
        case.with_rotations();
        case
    }

    /// In one of three cases somebody is erased, and does something afterwards. These commands have dice of their own,
    /// so that all others are as they would be without them.
    fn with_erasures(&mut self) {
        let mut dice = Dice::of(self.seed ^ ERASED);
        if !dice.one_in(3) {
            return;
        }
        for number in 0..dice.pick(&[1, 1, 2]) {
            let index = dice.below(self.commands.len() + 1);
            let id = FIRST_ERASED + 10 * number;
            let erase = Command {
                act: Act::Erase,
                ..self.command(&mut dice, id)
            };
            let mut after = self.command(&mut dice, id + 1);
            after.act = match dice.below(5) {
                0 | 1 => Act::Give(self.give(&mut dice, id + 1)),
                2 => Act::Hear {
                    sender: "1001",
                    what: Heard::Text("hello there"),
                    also: None,
                },
                3 => Act::Repeat { of: id },
                _ => after.act,
            };
            if !dice.one_in(3) {
                after.to = erase.to;
            }
            let between = dice.below(self.commands.len() + 1 - index);
            self.commands.insert(index + between, after);
            if dice.one_in(2) {
                let mut before = erase.clone();
                before.id = id + 2;
                before.act = Act::Hear {
                    sender: "1001",
                    what: Heard::Text("hello there"),
                    also: None,
                };
                self.commands.insert(index, before);
                self.commands.insert(index + 1, erase);
            } else {
                self.commands.insert(index, erase);
            }
        }
    }

    /// In one of eight cases the server ends in the middle, mostly with a new key that a rotation brings into use, step by
    /// step, while the other commands come.
    fn with_rotations(&mut self) {
        let mut dice = Dice::of(self.seed ^ ROTATED);
        if !dice.one_in(8) {
            return;
        }
        let mut index = dice.below(self.commands.len() / 2 + 1);
        let mut acts = vec![Act::Restart {
            longer: !dice.one_in(4),
        }];
        for _ in 0..dice.pick(&[1, 1, 2]) {
            let steps = dice.pick(&[1, 20, 40, 64, 100, 150, 200, usize::MAX]);
            acts.push(Act::Rotate { steps });
        }
        for (number, act) in acts.into_iter().enumerate() {
            let command = Command {
                act,
                ..self.command(&mut dice, FIRST_ROTATED + number)
            };
            self.commands.insert(index, command);
            index += 1 + dice.below(self.commands.len() - index);
        }
    }

    /// The same without one of its commands.
    pub fn without(&self, index: usize) -> Self {
        let mut less = self.clone();
        less.commands.remove(index);
        less
    }

    /// What is asked after the command of this id, whatever other commands there are.
    pub fn questions(&self, id: usize) -> Vec<Question> {
        let id = u64::try_from(id).unwrap();
        let mut dice = Dice::of(self.seed ^ id.wrapping_mul(0x1234_5678_9abc_def1));
        let number = |number| Question {
            is_explained: number == 0 && id.is_multiple_of(4),
            ..self.question(&mut dice)
        };
        (0..3).map(number).collect()
    }

    fn question(&self, dice: &mut Dice) -> Question {
        let purpose = match dice.below(8) {
            0 => "support",
            1 => dice.pick(&PURPOSES),
            _ => dice.pick(&self.purposes),
        };
        let class = dice.pick(&[
            None,
            None,
            None,
            None,
            Some(MessageClass::Marketing),
            Some(MessageClass::Utility),
            Some(MessageClass::Service),
            Some(MessageClass::ConsentRequest),
            Some(MessageClass::ConsentRequest),
        ]);
        let is_service = purpose == "support" || class == Some(MessageClass::Service);
        let sender = match dice.below(9) {
            0..4 if !is_service => "",
            8 if dice.one_in(4) => "1009",
            _ => dice.pick(&SENDERS),
        };
        Question {
            business: self.business,
            purpose,
            class,
            sender,
            is_explained: false,
        }
    }

    fn command(&self, dice: &mut Dice, id: usize) -> Command {
        let wait = dice.pick(&[
            0,
            0,
            0,
            0,
            40,
            40,
            40,
            4 * MINUTE,
            7 * MINUTE,
            3 * HOUR,
            9 * HOUR,
            26 * HOUR,
            8 * DAY,
            40 * DAY,
            200 * DAY,
        ]);
        let told = match dice.below(10) {
            0..5 => Told::Ago(Duration::ZERO),
            5 => Told::ToTheSecond(Duration::ZERO),
            6 => Told::Ago(Duration::from_secs(dice.pick(&[
                10 * MINUTE,
                3 * HOUR,
                2 * DAY,
            ]))),
            7 => Told::ToTheSecond(Duration::from_secs(dice.pick(&[20, 2 * DAY]))),
            8 => Told::Ahead,
            _ => Told::Unset,
        };
        let to = dice.pick(&self.cast);
        let mut act = self.act(dice, id);
        if let Act::Hear { also, .. } = &mut act
            && SEVERAL_ZONES.contains(&ADDRESSES[to].country)
        {
            *also = None;
        }
        Command {
            id,
            wait: TICK + Duration::from_secs(wait),
            business: match dice.one_in(20) {
                true => 1 - self.business,
                false => self.business,
            },
            to,
            act,
            told,
        }
    }

    fn act(&self, dice: &mut Dice, id: usize) -> Act {
        match dice.below(42) {
            0..8 | 34..38 => Act::Give(self.give(dice, id)),
            8..11 | 38 => Act::Confirm {
                purposes: match dice.one_in(3) {
                    true => vec![dice.pick(&self.purposes)],
                    false => Vec::new(),
                },
                sender: dice.pick(&["", "", "", "1001"]),
            },
            11..15 => Act::Withdraw {
                scope: self.scope(dice),
                sender: dice.pick(&["", "", "1001", "1002", "alias-of-1001", "9999"]),
                by: dice.pick(&[
                    By::PreferenceCenter,
                    By::PreferenceCenter,
                    By::PreferenceCenter,
                    By::Operator,
                    By::Authority,
                    By::Import,
                    By::Platform,
                ]),
                key: dice.pick(&[Some(id), Some(id), Some(id / 2), None]),
            },
            15..23 => self.heard(dice),
            23 => Act::Suppress {
                scope: self.scope(dice),
                sender: dice.pick(&["", "", "1002"]),
                basis: dice.pick(&[
                    SuppressionBasis::Objection,
                    SuppressionBasis::Complaint,
                    SuppressionBasis::CourtOrder,
                    SuppressionBasis::ReassignedNumber,
                    SuppressionBasis::WrongNumber,
                ]),
                days: dice.pick(&[None, Some(1), Some(30)]),
            },
            24 => Act::Lift {
                made_by: dice.below(id + 1),
                person: !dice.one_in(3),
            },
            25 | 26 | 41 => Act::LookUp {
                registry: dice.pick(&["za-ncc", "ae-dncr", "us-rnd"]),
                result: dice.pick(&[
                    RegistryResult::NotListed,
                    RegistryResult::NotListed,
                    RegistryResult::Listed,
                    RegistryResult::NoData,
                ]),
            },
            27 => Act::Move {
                from: dice.pick(&self.cast),
            },
            28..31 | 40 => self.sent(dice),
            31 | 39 => Act::ConfirmOptOut {
                sender: dice.pick(&["1001", "1001", "1002"]),
                purpose: dice.pick(&self.purposes),
                request: dice.pick(&["one", "two"]),
            },
            32 => Act::Repeat {
                of: dice.below(id + 1),
            },
            _ => match dice.one_in(2) {
                true => Act::WasAsked {
                    purpose: dice.pick(&self.purposes),
                },
                false => Act::Refuse {
                    purpose: dice.pick(&self.purposes),
                    sender: dice.pick(&["", "1001"]),
                },
            },
        }
    }

    fn sent(&self, dice: &mut Dice) -> Act {
        match dice.one_in(3) {
            true => Act::Fail {
                sender: dice.pick(&SENDERS),
                code: dice.pick(&["131026", "131026", "131049", "131050", "137000", "131047"]),
                times: dice.pick(&[1, 3]),
            },
            false => Act::Send {
                sender: dice.pick(&SENDERS),
                purpose: dice.pick(&self.purposes),
                class: dice.pick(&[
                    None,
                    None,
                    Some(MessageClass::Marketing),
                    Some(MessageClass::ConsentRequest),
                ]),
            },
        }
    }

    fn give(&self, dice: &mut Dice, id: usize) -> Give {
        let implied = dice.one_in(6).then(|| {
            let basis = [
                ImpliedBasis::Purchase,
                ImpliedBasis::Inquiry,
                ImpliedBasis::Donation,
            ];
            (dice.pick(&basis), dice.pick(&[0, 100, 500]))
        });
        let mut purposes = match implied {
            Some(_) => vec!["deals"],
            None => vec![dice.pick(&self.purposes)],
        };
        if implied.is_none() && dice.one_in(3) {
            let another = dice.pick(&self.purposes);
            if !purposes.contains(&another) {
                purposes.push(another);
            }
        }
        Give {
            purposes,
            sender: dice.pick(&["", "", "", "1001", "1002"]),
            firm: match implied {
                Some(_) => ConsentType::Implied,
                None => dice.pick(&[
                    ConsentType::ExplicitlyExpressed,
                    ConsentType::ExplicitlyExpressed,
                    ConsentType::Expressed,
                ]),
            },
            implied,
            import: dice.one_in(8),
            lives_in: match dice.one_in(6) {
                true => dice.pick(&["ZA", "AE", "AR"]),
                false => "",
            },
            whatsapp_named: !dice.one_in(5),
            // No throw of its own: what else happens stays as it was.
            proven: id.is_multiple_of(3),
            key: match dice.one_in(15) {
                true => id / 2,
                false => id,
            },
        }
    }

    fn scope(&self, dice: &mut Dice) -> Scope {
        match dice.below(4) {
            0 => Scope::Everything,
            1 => Scope::Marketing,
            2 => Scope::Purposes(vec![dice.pick(&self.purposes)]),
            _ => Scope::Purposes(self.purposes.clone()),
        }
    }

    fn heard(&self, dice: &mut Dice) -> Act {
        let what = dice.pick(&[
            Heard::Text("hello there"),
            Heard::Text("hello there"),
            Heard::Text("STOP"),
            Heard::Text("Stop promotions"),
            Heard::Text("could you please stop this"),
            Heard::Text("YES"),
            Heard::Text("YES"),
            Heard::Text("START"),
            Heard::Text("NO"),
            Heard::Text("HELP"),
            Heard::StopPromotions,
            Heard::PlatformStop,
            Heard::PlatformResume,
            Heard::SignUp,
            Heard::Call,
        ]);
        Act::Hear {
            sender: match dice.one_in(12) {
                true => "9999",
                false => dice.pick(&SENDERS),
            },
            what,
            // Where a linked user id is in such a country nobody knows: left out here.
            also: match dice.pick(&self.cast) {
                other if SEVERAL_ZONES.contains(&ADDRESSES[other].country) => None,
                other => dice.one_in(3).then_some(other),
            },
        }
    }
}
