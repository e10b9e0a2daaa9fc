//! What people write on lapin itself: the same events, in the same exchange, with the same properties.
use std::time::{SystemTime, UNIX_EPOCH};

use sinew_adapter_amqp::lapin::{
    BasicProperties, Channel, Connection, ConnectionProperties, Consumer, ExchangeKind,
    options::{
        BasicConsumeOptions, BasicPublishOptions, BasicQosOptions, ConfirmSelectOptions,
        ExchangeDeclareOptions,
    },
    types::FieldTable,
};

use crate::{Order, Outcome, WINDOW};

const EXCHANGE: &str = "orders.events";
const TRANSIENT: u8 = 1;
const PERSISTENT: u8 = 2;

/// Two connections, as ours has them.
pub(crate) struct Raw {
    publishing: Channel,
    consuming: Connection,
}

impl Raw {
    pub(crate) async fn connect(url: &str) -> Outcome<Self> {
        let connect = async || {
            let properties = ConnectionProperties::default();
            Connection::connect(&format!("{url}/%2f"), properties).await
        };
        let publishing = connect().await?.create_channel().await?;
        publishing.confirm_select(ConfirmSelectOptions::default()).await?;
        let durable = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
        let nothing = FieldTable::default();
        publishing.exchange_declare(EXCHANGE.into(), ExchangeKind::Topic, durable, nothing).await?;
        Ok(Self { publishing, consuming: connect().await? })
    }

    /// Emits an event as ours is emitted, and ends when the broker has confirmed it.
    pub(crate) async fn emit(&self, event_type: &str, order: &Order) -> Outcome {
        self.publish(event_type, order, PERSISTENT).await
    }

    /// Fills queues: on disk they would cost the broker more than anyone here.
    pub(crate) async fn fill(&self, event_type: &str, order: &Order) -> Outcome {
        self.publish(event_type, order, TRANSIENT).await
    }

    async fn publish(&self, event_type: &str, order: &Order, mode: u8) -> Outcome {
        let body = serde_json::to_vec(order)?;
        let (exchange, key) = (EXCHANGE.into(), event_type.into());
        let options = BasicPublishOptions::default();
        let properties = BasicProperties::default()
            .with_content_type("application/json".into())
            .with_content_encoding("utf-8".into())
            .with_delivery_mode(mode)
            .with_priority(0)
            .with_message_id(id().into())
            .with_timestamp(SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs());
        let publish = self.publishing.basic_publish(exchange, key, options, &body, properties);
        match publish.await?.await?.is_ack() {
            true => Ok(()),
            false => Err("the broker refused an event".into()),
        }
    }

    pub(crate) async fn consume(&self, queue: &str) -> Outcome<(Channel, Consumer)> {
        let channel = self.consuming.create_channel().await?;
        channel.basic_qos(WINDOW, BasicQosOptions { global: false }).await?;
        let options = BasicConsumeOptions::default();
        let nothing = FieldTable::default();
        let consumer = channel.basic_consume(queue.into(), "".into(), options, nothing).await?;
        Ok((channel, consumer))
    }
}

/// As long as a UUID, and as unlike any other.
fn id() -> String {
    let (high, low) = (fastrand::u64(..), fastrand::u64(..));
    format!(
        "{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
        high >> 32,
        high >> 16 & 0xffff,
        high & 0xffff,
        low >> 48,
        low & 0xffff_ffff_ffff
    )
}
