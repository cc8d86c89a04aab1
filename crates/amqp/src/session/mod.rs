pub struct AmqpSession;
pub struct SessionOptions;
