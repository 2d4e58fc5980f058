//! Writes a classic store as Mosquitto 2.0 and 2.1 do (format 6), or 1.6 (format 5).

/// A store in the making.
pub(crate) struct Writer {
    pub(crate) bytes: Vec<u8>,
    format: u32,
}

#[allow(dead_code, reason = "each user needs some of it")]
impl Writer {
    pub(crate) fn new(format: u32) -> Self {
        let mut bytes = b"\x00\xb5\x00mosquitto db\0\0\0\0".to_vec();
        bytes.extend(format.to_be_bytes());
        let mut writer = Self { bytes, format };
        let mut settings = 77u64.to_ne_bytes().to_vec();
        settings.extend([0, 8, 0, 0, 0, 0, 0, 0]);
        writer.chunk(1, &settings);
        writer
    }

    pub(crate) fn chunk(&mut self, kind: u32, content: &[u8]) -> &mut Self {
        self.bytes.extend(kind.to_be_bytes());
        self.bytes.extend(length32(content));
        self.bytes.extend(content);
        self
    }

    pub(crate) fn message(
        &mut self,
        number: u64,
        topic: &str,
        payload: &[u8],
        qos: u8,
        expires_at: i64,
    ) -> &mut Self {
        self.message_of("publisher", number, topic, payload, qos, expires_at)
    }

    pub(crate) fn message_of(
        &mut self,
        source: &str,
        number: u64,
        topic: &str,
        payload: &[u8],
        qos: u8,
        expires_at: i64,
    ) -> &mut Self {
        let mut content = number.to_ne_bytes().to_vec();
        content.extend(expires_at.to_ne_bytes());
        content.extend(length32(payload));
        content.extend([0, 1]);
        content.extend(length16(source));
        content.extend(length16("somebody"));
        content.extend(length16(topic));
        content.extend(1883u16.to_be_bytes());
        content.extend([qos, 0]);
        content.extend(source.bytes());
        content.extend(b"somebody");
        content.extend(topic.bytes());
        content.extend(payload);
        // A property: the message expires.
        content.extend([2, 0, 0, 14, 16]);
        self.chunk(2, &content)
    }

    /// With a user's name as bytes, so that it can be wrong.
    pub(crate) fn client(
        &mut self,
        client_id: &str,
        user: &[u8],
        interval: u32,
        expires_at: i64,
    ) -> &mut Self {
        let mut content = expires_at.to_ne_bytes().to_vec();
        content.extend(interval.to_be_bytes());
        content.extend([0, 9]);
        content.extend(length16(client_id));
        if self.format == 6 {
            content.extend(1883u16.to_be_bytes());
            content.extend(u16::try_from(user.len()).unwrap().to_be_bytes());
            content.extend([0; 4]);
        }
        content.extend(client_id.bytes());
        content.extend(user);
        self.chunk(6, &content)
    }

    pub(crate) fn queued(&mut self, client_id: &str, message: u64, out: bool) -> &mut Self {
        let mut content = message.to_ne_bytes().to_vec();
        content.extend([0, 1]);
        content.extend(length16(client_id));
        content.extend([1, 3, 0, u8::from(out)]);
        content.extend(client_id.bytes());
        self.chunk(3, &content)
    }

    pub(crate) fn subscription(
        &mut self,
        client_id: &str,
        filter: &str,
        qos: u8,
        options: u8,
        identifier: u32,
    ) -> &mut Self {
        let mut content = identifier.to_be_bytes().to_vec();
        content.extend(length16(client_id));
        content.extend(length16(filter));
        content.extend([qos, options, 0, 0]);
        content.extend(client_id.bytes());
        content.extend(filter.bytes());
        self.chunk(5, &content)
    }

    pub(crate) fn retained(&mut self, message: u64) -> &mut Self {
        self.chunk(4, &message.to_ne_bytes())
    }
}

fn length16(text: &str) -> [u8; 2] {
    u16::try_from(text.len()).unwrap().to_be_bytes()
}

fn length32(content: &[u8]) -> [u8; 4] {
    u32::try_from(content.len()).unwrap().to_be_bytes()
}
