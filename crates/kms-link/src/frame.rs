//! Frames on the wire: the length in 4 bytes, big-endian, then the bytes.

use std::io;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

/// Why no frame came.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FrameError {
    /// The other side closed the connection between two frames.
    #[error("closed by the other side")]
    Closed,
    #[error("a frame of {announced} bytes was announced, and {limit} are allowed")]
    TooLong { announced: u32, limit: usize },
    #[error("a frame was begun and not finished in time")]
    Stalled,
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// The next frame of at most `limit` bytes; nothing is set aside for a longer one. Waits for its begin as long as it takes, for
/// the rest of it at most `patience`.
pub(crate) async fn read_frame<R: AsyncRead + Unpin>(
    reader: &mut R,
    limit: usize,
    patience: Duration,
) -> Result<Vec<u8>, FrameError> {
    let mut length = [0; LENGTH_LEN];
    if reader.read(&mut length[..1]).await? == 0 {
        return Err(FrameError::Closed);
    }
    let rest = async {
        reader.read_exact(&mut length[1..]).await?;
        let announced = u32::from_be_bytes(length);
        let len = usize::try_from(announced)
            .ok()
            .filter(|len| *len <= limit)
            .ok_or(FrameError::TooLong { announced, limit })?;
        let mut frame = vec![0; len];
        reader.read_exact(&mut frame).await?;
        Ok(frame)
    };
    timeout(patience, rest).await.unwrap_or(Err(FrameError::Stalled))
}

/// Sends `frame` and waits at most `patience` until it is taken.
pub(crate) async fn write_frame<W: AsyncWrite + Unpin>(
    writer: &mut W,
    frame: &[u8],
    patience: Duration,
) -> Result<(), FrameError> {
    let length = u32::try_from(frame.len()).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    let writing = async {
        writer.write_all(&length.to_be_bytes()).await?;
        writer.write_all(frame).await?;
        writer.flush().await
    };
    match timeout(patience, writing).await {
        Ok(written) => Ok(written?),
        Err(_) => Err(FrameError::Stalled),
    }
}

const LENGTH_LEN: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::pending;

    const PATIENCE: Duration = Duration::from_secs(30);

    async fn read(mut bytes: &[u8], limit: usize) -> Result<Vec<u8>, FrameError> {
        read_frame(&mut bytes, limit, PATIENCE).await
    }

    #[tokio::test]
    async fn what_is_written_is_read() {
        let mut wire = Vec::new();
        for frame in [&b"abc"[..], b"", b"d"] {
            write_frame(&mut wire, frame, PATIENCE).await.unwrap();
        }
        assert_eq!(wire, b"\0\0\0\x03abc\0\0\0\0\0\0\0\x01d");
        let mut reader = &wire[..];
        for frame in [&b"abc"[..], b"", b"d"] {
            assert_eq!(read_frame(&mut reader, 3, PATIENCE).await.unwrap(), frame);
        }
        assert!(matches!(read_frame(&mut reader, 3, PATIENCE).await, Err(FrameError::Closed)));
    }

    #[tokio::test]
    async fn the_longest_frame_passes_and_one_byte_more_does_not() {
        assert_eq!(read(b"\0\0\0\x03abc", 3).await.unwrap(), b"abc");
        let refused = read(b"\0\0\0\x04abcd", 3).await;
        assert!(matches!(refused, Err(FrameError::TooLong { announced: 4, limit: 3 })), "{refused:?}");
        let refused = read(&[0xff; 8], 3).await;
        assert!(matches!(refused, Err(FrameError::TooLong { announced: u32::MAX, .. })), "{refused:?}");
    }

    #[tokio::test]
    async fn half_a_frame_is_an_error() {
        for bytes in [&b"\0"[..], b"\0\0\0\x03", b"\0\0\0\x03ab"] {
            assert!(matches!(read(bytes, 3).await, Err(FrameError::Io(_))), "{bytes:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_frame_may_begin_late_but_not_take_for_ever() {
        let (mut near, mut far) = tokio::io::duplex(64);
        let reading = read_frame(&mut near, 3, PATIENCE);
        let writing = async {
            tokio::time::sleep(PATIENCE * 100).await;
            far.write_all(b"\0\0").await.unwrap();
            pending::<()>().await;
        };
        tokio::select! {
            result = reading => assert!(matches!(result, Err(FrameError::Stalled)), "{result:?}"),
            () = writing => {}
        }
    }
}
