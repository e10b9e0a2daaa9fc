//! The shape of [ate-dispatcher](https://pypi.org/project/ate-dispatcher/) 0.1.0: producers and result listeners under
//! topics, requests that nobody waits for. For code that is carried over from Python; what is new had better use
//! [`Dispatcher`](crate::Dispatcher), which this stands on.
//!
//! The session of its README:
//!
//! ```
//! use std::{sync::mpsc, thread, time::Duration};
//!
//! use sinew_core::Value;
//! use sinew_dispatch::compat::{AteDispatcher, Call, About, ListenerHandle, ProducerHandle};
//!
//! # fn main() -> sinew_core::Result<()> {
//! let producer = |id: i64, time: Duration| {
//!     ProducerHandle::new(&id.to_string(), move |topic: &str, call: &Call, _: &_| {
//!         thread::sleep(time);
//!         Ok(Value::from(vec![
//!             ("id".to_owned(), Value::from(id)),
//!             ("some_key".to_owned(), Value::from(topic)),
//!             ("args".to_owned(), Value::from(call.args.clone())),
//!             ("kwargs".to_owned(), Value::from(call.kwargs.clone())),
//!         ]))
//!     })
//! };
//! let (say, said) = mpsc::channel();
//! let listener = ListenerHandle::new(move |about: &About, response: &Value| {
//!     let _ = say.send((about.topic.to_string(), about.producer.to_string(), response.clone()));
//! })?;
//!
//! let dispatcher = AteDispatcher::start()?;
//! let producer1 = producer(0, Duration::from_millis(2))?;
//! let producer2 = producer(1, Duration::from_millis(500))?;
//! for topic in ["topic1", "my_topic"] {
//!     dispatcher.register_result_producer(&producer1, topic)?;
//!     dispatcher.register_result_listener(&listener, topic)?;
//! }
//! dispatcher.register_result_producer(&producer2, "my_topic")?;
//!
//! let kwargs = || [("keyword".to_owned(), Value::from("b"))];
//! dispatcher.send_request("topic1", [3, 4, 5].map(Value::from), kwargs(), Some(4_000))?;
//! let (topic, producer, response) = said.recv().unwrap();
//! assert_eq!((topic.as_str(), producer.as_str()), ("topic1", "0"));
//! let Value::Map(response) = response else { panic!("it is a map") };
//! assert_eq!(response[2], ("args".to_owned(), Value::from_iter([3, 4, 5])));
//!
//! dispatcher.deregister_result_producer(&producer2, "my_topic")?;
//! dispatcher.send_request("my_topic", [], [], None)?;
//! dispatcher.stop(Duration::from_secs(5))?;
//! assert_eq!(said.recv().unwrap().0, "my_topic");
//! # Ok(())
//! # }
//! ```
//!
//! ## Call by call
//!
//! | Python | here |
//! |---|---|
//! | `class P(Producer)` with `produce_dispatcher_output(self, topic, *args, **kwargs)` | [`Producer`], or a closure: `(topic, call, context)`, with `call.args` and `call.kwargs`. An error is a `Result`, and `context` has the deadline |
//! | `P(..)`, `producer.start()` | [`ProducerHandle::new`]`(name, producer)`: it needs a name, so that a listener knows whose response it has |
//! | `producer.stop()` | drop it |
//! | `submit_producer_message(..)` | the dispatcher's own business |
//! | `class L(ResultListener)` with `process_dispatcher_result(self, topic, response)` | [`ResultListener`], or a closure: `(about, response)`, with `about.topic`, `about.request`, `about.producer` |
//! | `L()`, `listener.start()` | [`ListenerHandle::new`]`(listener)` |
//! | `listener.stop()` | drop it: it is told what waits, and ends |
//! | `listener.send_result(..)` | the dispatcher's own business |
//! | `ATEDispatcher()`, `dispatcher.start()` | [`AteDispatcher::start`]`()` |
//! | `dispatcher.register_result_producer(producer, topic)` | [the same](AteDispatcher::register_result_producer); twice is once |
//! | `dispatcher.deregister_result_producer(producer, topic)` | [the same](AteDispatcher::deregister_result_producer) |
//! | `dispatcher.register_result_listener(listener, topic)` | [the same](AteDispatcher::register_result_listener); twice is once |
//! | `dispatcher.deregister_result_listener(listener, topic)` | [the same](AteDispatcher::deregister_result_listener) |
//! | `dispatcher.send_request(topic, *args, ttl=5000, **kwargs)` | [`send_request`](AteDispatcher::send_request)`(topic, args, kwargs, ttl_ms)`: says which request it is, and fails at once where nobody could answer |
//! | `dispatcher.stop()` | [`stop`](AteDispatcher::stop)`(within)`: after what was sent is over; dropping it ends it at once |
//! | any object as argument or response | [`Value`](sinew_core::Value) |
//!
//! ## What is as it was
//!
//! A topic is any text, matched exactly. One producer answers one request at a time, in their order. A listener is told
//! every response within the time to live as it comes, fastest first, one that is registered after the request was sent
//! included. A response exactly on its time to live counts. Nobody waits in `send_request`.
//!
//! ## What is mended
//!
//! `tests/compat/faults.rs` has a test for each.
//!
//! | ate-dispatcher 0.1.0 | here |
//! |---|---|
//! | a request says nothing of its end | [`process_dispatcher_end`](ResultListener::process_dispatcher_end), with what became of every producer |
//! | nobody to answer: it waits for ever | `NoResponders` at once |
//! | a producer that raises is dead, and so is every later request to it | a failure, told to [`process_dispatcher_failure`](ResultListener::process_dispatcher_failure); the next request is answered |
//! | a listener that raises is dead | it goes on; [`panics`](ListenerHandle::panics) counts |
//! | requests without producers, with silent or with dead ones stay in memory | nothing stays |
//! | registering while a request is relayed kills the dispatcher | registering is safe from any thread |
//! | keyword arguments `reply_to`, `uuid` and `topic` kill it or the call | names like others |
//! | requests are told apart by nothing | [`RequestId`] and the producer's name |
//! | a request that expired in line is worked on all the same | it is not begun |
//! | a time to live that counts from when the dispatcher gets to it, on the wall's clock | from the call, on a clock that is never set back |
//! | the producers are those who are there when the dispatcher gets to it | those who are there when the request is sent |
//! | `stop` forgets what is queued, and joins nothing | [`stop`](AteDispatcher::stop) waits for what was sent, within bounds |
//! | a forgotten `stop` hangs the exit | dropping it is enough |
//! | queues without bound | at most 1,024 requests wait for a producer, and 65,536 responses for a listener; what is beyond is told as `busy`, or counted as [`lost`](ListenerHandle::lost) |

mod call;
mod dispatcher;
mod listener;
mod producer;

pub use call::Call;
pub use dispatcher::{AteDispatcher, DEFAULT_TTL_MS};
pub use listener::{About, ListenerHandle, RequestId, ResultListener};
pub use producer::{Producer, ProducerHandle};
