//! A broker that holds nothing and answers by the names it is asked about.

use model::request::Destination;
use model::{Event, Failure, Lsn, Reply, Request, Subject, SubscriptionId};

#[derive(Default)]
pub(in crate::session) struct FakeBroker {
    /// The requests it heard, as lines.
    pub(in crate::session) log: Vec<String>,
    /// Given out with everything that must become durable, ten apart.
    lsn: u64,
    subscriptions: u64,
    /// Answers that come before the rules.
    pub(in crate::session) next: Option<Result<Reply, Failure>>,
}

impl FakeBroker {
    /// Rules: what is called `missing` is not there, the password is `guest`, the key `nowhere` leads
    /// nowhere, delivery tag 99 is unknown, and what is durable takes its time.
    pub(in crate::session) fn answer(&mut self, request: &Request<'_>) -> Event<'static> {
        self.log.push(describe(request));
        let answer = self.next.take().unwrap_or_else(|| self.decide(request));
        answer.map_or_else(Event::Failed, Event::Reply)
    }

    fn durable(&mut self) -> Lsn {
        self.lsn += 10;
        Lsn(self.lsn)
    }

    fn decide(&mut self, request: &Request<'_>) -> Result<Reply, Failure> {
        let missing = |subject, name: &str| {
            if name == "missing" {
                Err(Failure::NotFound { subject, name: name.to_owned(), host: "/".to_owned() })
            } else {
                Ok(())
            }
        };
        Ok(match request {
            Request::Authenticate { user, password } if *password != b"guest" => {
                return Err(Failure::LoginRefused { user: (*user).to_owned() });
            }
            Request::OpenHost { host } if *host != "/" => {
                return Err(Failure::NoSuchHost { host: (*host).to_owned() });
            }
            Request::DeclareQueue(declare) => {
                missing(Subject::Queue, declare.name)?;
                let name = if declare.name.is_empty() { "amq.gen-made-up" } else { declare.name };
                let durable_at = (declare.durable && !declare.passive).then(|| self.durable());
                Reply::QueueDeclared { name: name.to_owned(), messages: 3, subscriptions: 1, durable_at }
            }
            Request::DeclareExchange(declare) => {
                missing(Subject::Exchange, declare.name)?;
                if declare.durable { Reply::DurableAt(self.durable()) } else { Reply::Ok }
            }
            Request::PurgeQueue { name } => {
                missing(Subject::Queue, name)?;
                Reply::Removed { messages: 3, durable_at: None }
            }
            Request::DeleteQueue { name, .. } => {
                Reply::Removed { messages: 3, durable_at: (*name == "durable").then(|| self.durable()) }
            }
            Request::Publish(publish) => {
                missing(Subject::Exchange, publish.exchange)?;
                if publish.user_id.is_some_and(|user| user != "guest") {
                    let claimed = publish.user_id.unwrap_or_default().to_owned();
                    return Err(Failure::UserMismatch { claimed, user: "guest".to_owned() });
                }
                Reply::Published {
                    durable_at: publish.persistent.then(|| self.durable()),
                    routed: publish.routing_key != "nowhere",
                }
            }
            Request::Subscribe(subscribe) => {
                missing(Subject::Queue, subscribe.queue)?;
                self.subscriptions += 1;
                Reply::Subscribed { subscription: SubscriptionId(self.subscriptions) }
            }
            Request::Get { queue, .. } => {
                missing(Subject::Queue, queue)?;
                Reply::Pending
            }
            Request::Settle { tag, .. } if tag.0 == 99 => return Err(Failure::UnknownDeliveryTag(99)),
            Request::Commit { .. } => Reply::DurableAt(self.durable()),
            _ => Reply::Ok,
        })
    }
}

fn describe(request: &Request<'_>) -> String {
    let flags =
        |flags: &[(&str, bool)]| -> String { flags.iter().filter(|(_, set)| *set).map(|(name, _)| format!(" {name}")).collect() };
    let binding = |verb: &str, binding: &model::request::Binding<'_>| {
        let to = match binding.destination {
            Destination::Queue(name) => format!("queue '{name}'"),
            Destination::Exchange(name) => format!("exchange '{name}'"),
        };
        format!("{verb} '{}' to {to} by '{}' {:?}", binding.source, binding.routing_key, binding.arguments.0)
    };
    match request {
        Request::Authenticate { user, password } => {
            format!("authenticate '{user}' '{}'", String::from_utf8_lossy(password))
        }
        Request::OpenHost { host } => format!("open host '{host}'"),
        Request::OpenScope { scope } => format!("open scope {scope}"),
        Request::CloseScope { scope } => format!("close scope {scope}"),
        Request::DeclareExchange(d) => format!(
            "declare {} exchange '{}'{} {:?}",
            d.kind,
            d.name,
            flags(&[("passive", d.passive), ("durable", d.durable), ("auto_delete", d.auto_delete), ("internal", d.internal)]),
            d.arguments.0
        ),
        Request::DeleteExchange { name, if_unused } => {
            format!("delete exchange '{name}'{}", flags(&[("if_unused", *if_unused)]))
        }
        Request::DeclareQueue(d) => format!(
            "declare queue '{}'{} {:?}",
            d.name,
            flags(&[("passive", d.passive), ("durable", d.durable), ("exclusive", d.exclusive), ("auto_delete", d.auto_delete)]),
            d.arguments.0
        ),
        Request::DeleteQueue { name, if_unused, if_empty } => {
            format!("delete queue '{name}'{}", flags(&[("if_unused", *if_unused), ("if_empty", *if_empty)]))
        }
        Request::PurgeQueue { name } => format!("purge queue '{name}'"),
        Request::Bind(b) => binding("bind", b),
        Request::Unbind(b) => binding("unbind", b),
        Request::Publish(p) => format!(
            "publish in {} to '{}' by '{}'{:?}{} priority={} expiration={:?} user={:?} x={:?} body of {}: {}",
            p.scope,
            p.exchange,
            p.routing_key,
            p.more_keys,
            flags(&[("mandatory", p.mandatory), ("persistent", p.persistent)]),
            p.priority,
            p.expiration_ms,
            p.user_id,
            p.headers.get("x"),
            p.record.value.len(),
            String::from_utf8_lossy(&p.record.value[..p.record.value.len().min(20)])
        ),
        Request::Subscribe(s) => format!(
            "subscribe in {} to '{}' as '{}'{} {:?}",
            s.scope,
            s.queue,
            s.tag,
            flags(&[("auto_settle", s.auto_settle), ("exclusive", s.exclusive)]),
            s.arguments.0
        ),
        Request::Unsubscribe { scope, subscription } => format!("unsubscribe in {scope} {subscription}"),
        Request::Prefetch { scope, count, each } => format!("prefetch in {scope} {count}{}", flags(&[("each", *each)])),
        Request::Get { scope, queue, auto_settle } => {
            format!("get in {scope} from '{queue}'{}", flags(&[("auto_settle", *auto_settle)]))
        }
        Request::Settle { scope, tag, multiple, outcome } => {
            format!("settle in {scope} {tag}{} {outcome:?}", flags(&[("multiple", *multiple)]))
        }
        Request::Recover { scope } => format!("recover {scope}"),
        Request::Begin { scope } => format!("begin {scope}"),
        Request::Commit { scope } => format!("commit {scope}"),
        Request::Rollback { scope } => format!("rollback {scope}"),
        _ => unreachable!("AMQP asks nothing of topics and groups"),
    }
}
