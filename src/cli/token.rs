//! `token`: who may call. Opens the database: beside the servers (PostgreSQL), or while none runs (SQLite).
//!
//! A token is shown once, when it is made. What is said about it goes to standard error, so that standard
//! output can be a file.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};
use tokio::runtime::Runtime;

use super::Exit;
use super::json::Object;
use super::output::{Format, Output, say};
use super::table;
use crate::auth::TokenText;
use crate::catalog::Done;
use crate::catalog::callers::NewToken;
use crate::config::{Config, Flags};
use crate::domain::caller::{
    Businesses, Caller, Permission, Permissions, Standing, Token, TokenHash, TokenPrefix,
};
use crate::domain::id::{BusinessId, CallerName};
use crate::domain::time::Timestamp;
use crate::keys::source;
use crate::server;

#[derive(Debug, Subcommand)]
pub(super) enum TokenCommand {
    /// Make a token and print it, once: what is kept of it cannot be turned back into it. From the first
    /// token on every call needs one. Returns once every running server takes it.
    #[command(after_help = "\
Permissions:
  check         ask whether a message may be sent
  record        record consents, confirmations, registry answers, the end of a suppression
  withdraw      record opt-outs and suppressions
  report        hand over what was received, sent and not delivered
  read-history  read a person's consents and their history, and have answers explained
  catalogue     read and change businesses, senders, purposes and notices
  audit         read the ledger itself and its proofs
  operate       erase a person's data

Examples:
  consentgate token create campaign-sender --business acme --permission check > sender.token
  consentgate token create webhook --business acme --permission report --permission withdraw
  consentgate token create ops --all-businesses --permission catalogue --expires-in 30d --out ops.token")]
    Create(Box<CreateArgs>),
    /// List every token that there ever was, without its secret.
    #[command(after_help = "\
Example:
  consentgate token list --database sqlite:gate.db")]
    List(Box<ListArgs>),
    /// Revoke a token, for ever. Returns once no server takes it any more.
    #[command(after_help = "\
Example:
  consentgate token revoke k3vq7d2m")]
    Revoke(Box<RevokeArgs>),
}

#[derive(Debug, Args)]
pub(super) struct CreateArgs {
    /// The program or team that will call: lower-case letters, digits, `-`, `_` and `.`. It stands in
    /// logs, so no person's name. Several tokens may have the same.
    #[arg(value_name = "CALLER", value_parser = |text: &str| CallerName::parse(text))]
    name: CallerName,
    /// Slug of a business that it calls for. May be given several times.
    #[arg(
        long,
        value_name = "SLUG",
        required_unless_present = "all_businesses",
        value_parser = |text: &str| BusinessId::parse(text)
    )]
    business: Vec<BusinessId>,
    /// It calls for every business, also those to come.
    #[arg(long, conflicts_with = "business")]
    all_businesses: bool,
    /// What it may do. May be given several times; no permission holds another.
    #[arg(long, value_name = "WORD", required = true, value_parser = permission)]
    permission: Vec<Permission>,
    /// For how long it is good, as in `90d` or `12h`, or `never` for a token without end.
    #[arg(long, value_name = "DURATION", default_value = "365d", value_parser = lifetime)]
    expires_in: Lifetime,
    /// Write it to this file, which only its owner may read, instead of printing it. An existing file is
    /// never overwritten.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    #[command(flatten)]
    flags: Flags,
}

#[derive(Debug, Args)]
pub(super) struct ListArgs {
    #[command(flatten)]
    flags: Flags,
}

#[derive(Debug, Args)]
pub(super) struct RevokeArgs {
    /// The prefix by which `token list` names it: of `cg_PREFIX_…` the part between the underscores.
    #[arg(value_name = "PREFIX", value_parser = |text: &str| TokenPrefix::parse(text))]
    prefix: TokenPrefix,
    #[command(flatten)]
    flags: Flags,
}

/// For how long a token is good. A type of its own: clap takes an `Option` for "may be left out".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Lifetime(Option<Duration>);

fn lifetime(text: &str) -> Result<Lifetime, String> {
    if text == "never" {
        return Ok(Lifetime(None));
    }
    let days = jiff::SpanRelativeTo::days_are_24_hours();
    let length = text.parse::<jiff::Span>().ok();
    let length = length.and_then(|span| span.to_duration(days).ok());
    length
        .and_then(|length| Duration::try_from(length).ok())
        .filter(|length| !length.is_zero())
        .map(|length| Lifetime(Some(length)))
        .ok_or_else(|| "expected a duration, as in `90d` or `12h`, or `never`".to_owned())
}

fn permission(word: &str) -> Result<Permission, String> {
    Permission::from_word(word).ok_or_else(|| {
        let words: Vec<_> = Permission::ALL.iter().map(|one| one.word()).collect();
        format!("expected one of {}", words.join(", "))
    })
}

pub(super) fn run(
    runtime: &Runtime,
    command: TokenCommand,
    output: &mut Output,
) -> anyhow::Result<Exit> {
    match command {
        TokenCommand::Create(args) => create(runtime, *args, output),
        TokenCommand::List(args) => list(runtime, &args.flags, output),
        TokenCommand::Revoke(args) => revoke(runtime, &args, output),
    }
}

fn create(runtime: &Runtime, args: CreateArgs, output: &mut Output) -> anyhow::Result<Exit> {
    let config = Config::from_process(&args.flags)?.config;
    let text = TokenText::generate();
    // Before it is made: a token that nobody can be told is no use.
    if let Some(path) = &args.out {
        source::write_private(path, format!("{}\n", text.expose()).as_bytes())?;
    }
    let businesses = match args.all_businesses {
        true => Businesses::All,
        false => Businesses::Only(args.business.into_iter().collect()),
    };
    let caller = Caller {
        name: args.name,
        businesses,
        permissions: Permissions::from(args.permission),
    };
    let made = runtime.block_on(Box::pin(server::with_tokens(&config, async |store| {
        let new = NewToken {
            prefix: text.prefix(),
            hash: TokenHash(store.keys.credential_hash(text.expose().as_bytes())),
            caller,
            lifetime: args.expires_in.0,
        };
        let token = store.catalog.create_token(&new).await?;
        Ok((token, store.now))
    })));
    let (token, now) = match made {
        Ok(made) => made,
        Err(error) => {
            // If it was made all the same, `token list` shows it, and it can be revoked.
            if let Some(path) = &args.out {
                let _ = std::fs::remove_file(path);
            }
            return Err(error.into());
        }
    };
    let object = object(&token, now);
    match (output.format, &args.out) {
        (Format::Table, Some(path)) => {
            let path = path.display();
            output.text(format_args!(
                "{path}: token {} of {}",
                token.prefix, token.caller.name
            ))?;
        }
        (Format::Table, None) => {
            output.text(text.expose())?;
            say(format_args!(
                "token {} of {}: keep it now, it is not shown again",
                token.prefix, token.caller.name
            ));
        }
        (Format::Json, Some(path)) => {
            output.json(&object.with("token_file", path.display().to_string()))?;
        }
        (Format::Json, None) => output.json(&object.with("token", text.expose()))?,
    }
    Ok(Exit::Done)
}

fn list(runtime: &Runtime, flags: &Flags, output: &mut Output) -> anyhow::Result<Exit> {
    let config = Config::from_process(flags)?.config;
    let (tokens, now) = runtime
        .block_on(Box::pin(server::with_tokens(&config, async |store| {
            Ok((store.catalog.tokens(), store.now))
        })))?;
    match output.format {
        Format::Table if tokens.is_empty() => output.text("there never was a token")?,
        Format::Table => output.text(tokens_text(&tokens, now))?,
        Format::Json => {
            let tokens = tokens.iter().map(|token| object(token, now));
            output.json(&Object::new().list("tokens", tokens))?;
        }
    }
    Ok(Exit::Done)
}

fn revoke(runtime: &Runtime, args: &RevokeArgs, output: &mut Output) -> anyhow::Result<Exit> {
    let config = Config::from_process(&args.flags)?.config;
    let work = async |store: server::TokenStore| {
        let (token, done) = store.catalog.revoke_token(&args.prefix).await?;
        Ok((token, done, store.now))
    };
    let (token, done, now) = runtime.block_on(Box::pin(server::with_tokens(&config, work)))?;
    match output.format {
        Format::Table => {
            let (prefix, name) = (token.prefix, &token.caller.name);
            let was = match done {
                Done::Unchanged => "was revoked before: ",
                Done::Created | Done::Updated => "is revoked: ",
            };
            output.text(format_args!(
                "token {prefix} of {name} {was}no server takes it any more"
            ))?;
        }
        Format::Json => output.json(&object(&token, now))?,
    }
    Ok(Exit::Done)
}

fn tokens_text(tokens: &[Token], now: Timestamp) -> String {
    let header = [
        "prefix",
        "caller",
        "state",
        "expires",
        "businesses",
        "permissions",
    ];
    let rows = tokens.iter().map(|token| {
        [
            token.prefix.to_string(),
            token.caller.name.to_string(),
            state(token, now).to_owned(),
            token
                .expire_time
                .map_or("never".to_owned(), |end| end.to_string()),
            match &token.caller.businesses {
                Businesses::All => "(all)".to_owned(),
                Businesses::Only(businesses) => words(businesses),
            },
            words(token.caller.permissions.iter()),
        ]
    });
    table::table(header, rows)
}

fn words(items: impl IntoIterator<Item = impl ToString>) -> String {
    let items: Vec<_> = items.into_iter().map(|item| item.to_string()).collect();
    items.join(", ")
}

fn state(token: &Token, now: Timestamp) -> &'static str {
    match token.standing(now) {
        Standing::Good => "good",
        Standing::Expired => "expired",
        Standing::Revoked => "revoked",
    }
}

fn object(token: &Token, now: Timestamp) -> Object {
    let (all, businesses) = match &token.caller.businesses {
        Businesses::All => (true, Vec::new()),
        Businesses::Only(only) => (false, only.iter().map(ToString::to_string).collect()),
    };
    let time = |time: Option<Timestamp>| time.map(|time| time.to_string());
    Object::new()
        .with("prefix", token.prefix.to_string())
        .with("caller", token.caller.name.to_string())
        .with("state", state(token, now))
        .with("all_businesses", all)
        .list("businesses", businesses)
        .list(
            "permissions",
            token.caller.permissions.iter().map(|one| one.word()),
        )
        .with("create_time", token.create_time.to_string())
        .maybe("expire_time", time(token.expire_time))
        .maybe("revoke_time", time(token.revoke_time))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lifetime_is_a_length_of_time_or_never() {
        let hours = |hours| Ok(Lifetime(Some(Duration::from_hours(hours))));
        assert_eq!(lifetime("365d"), hours(365 * 24));
        assert_eq!(lifetime("12h"), hours(12));
        assert_eq!(lifetime("never"), Ok(Lifetime(None)));
        for refused in ["", "0s", "-1d", "30", "soon", "1mo"] {
            assert!(lifetime(refused).is_err(), "{refused}");
        }
    }

    #[test]
    fn a_list_shows_who_may_do_what_and_no_secret() {
        let at = Timestamp::from_micros;
        let token = Token {
            prefix: TokenPrefix::parse("k3vq7d2m").unwrap(),
            hash: TokenHash([0xA5; 32]),
            caller: Caller {
                name: CallerName::parse("webhook").unwrap(),
                businesses: Businesses::Only([BusinessId::parse("acme").unwrap()].into()),
                permissions: Permissions::default()
                    .with(Permission::Report)
                    .with(Permission::Withdraw),
            },
            create_time: at(0),
            expire_time: Some(at(5_000_000)),
            revoke_time: None,
        };
        assert_eq!(
            tokens_text(std::slice::from_ref(&token), at(5_000_000)),
            "PREFIX    CALLER   STATE    EXPIRES               BUSINESSES  PERMISSIONS\n\
             k3vq7d2m  webhook  expired  1970-01-01T00:00:05Z  acme        withdraw, report"
        );
        let json = serde_json::to_string(&object(&token, at(1))).unwrap();
        assert_eq!(
            json,
            r#"{"prefix":"k3vq7d2m","caller":"webhook","state":"good","all_businesses":false,"businesses":["acme"],"permissions":["withdraw","report"],"create_time":"1970-01-01T00:00:00Z","expire_time":"1970-01-01T00:00:05Z"}"#
        );
    }
}
