//! What stays in memory: one copy of each secret, while it is needed.
//!
//! What cannot be shown: that the compiler left no copy on a stack or in a register that was used again since, and what
//! the system did with a page.

use std::convert::Infallible;
use std::fs::{self, File};
use std::future::ready;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use neonomics_auth::{Credentials, TokenProvider};
use zeroize::Zeroizing;

use crate::process;
use crate::server::{ID, environment};

/// The part of a text that is searched for: an allocator writes its own notes over both ends of what was given back.
const MARK: Range<usize> = 332..356;

#[test]
fn e2_secret_tokens_and_form_are_wiped_when_they_are_not_needed_any_more() {
    // Of its own, so that no other test has anything in the memory that is searched.
    process::run("wiped::in_a_process_memory_is_searched", &[]);
}

#[tokio::test(start_paused = true)]
#[ignore = "run by another test, in a process of its own"]
async fn in_a_process_memory_is_searched() {
    let mut memory = Memory::open();
    let (secret, access, refresh) = (Hidden::new(), [Hidden::new(), Hidden::new()], [Hidden::new(), Hidden::new()]);
    let mut copies = || memory.copies([&secret, &access[0], &refresh[0], &access[1], &refresh[1]]);
    assert_eq!(copies(), [0; 5], "nothing was written down yet");

    // The answers are the server's to wipe: what is left is what the provider keeps.
    let answers: Arc<Mutex<Vec<Bytes>>> = Arc::default();
    for (access, refresh) in access.iter().zip(&refresh).rev() {
        answers.lock().unwrap().push(answer(access, refresh));
    }
    let forms: Arc<Mutex<Vec<Full<Bytes>>>> = Arc::default();
    let kept = Arc::clone(&forms);
    let transport = tower::service_fn(move |request: Request<Full<Bytes>>| {
        kept.lock().unwrap().push(request.into_body());
        ready(Ok::<_, Infallible>(Response::new(Full::new(answers.lock().unwrap().pop().unwrap_or_default()))))
    });
    let builder = TokenProvider::builder(environment(), Credentials::new(ID, secret.shown()));
    let provider = builder.transport(transport).build().unwrap();
    // The answers have not been asked for yet.
    assert_eq!(copies(), [1, 1, 1, 1, 1], "the control: what is there is found");

    let first = provider.token().await.unwrap();
    // The secret is in the form that the transport holds, too.
    assert_eq!(copies(), [2, 1, 1, 1, 1], "one token");
    forms.lock().unwrap().clear();
    assert_eq!(copies(), [1, 1, 1, 1, 1], "the form is gone");

    // The replaced tokens live as long as somebody holds them: the access token here, the refresh token in the form.
    let second = provider.renew(&first).await.unwrap();
    assert_eq!(copies(), [2, 1, 1, 1, 1], "two tokens");
    forms.lock().unwrap().clear();
    drop(first);
    assert_eq!(copies(), [1, 0, 0, 1, 1], "the first one is gone");

    provider.end_session().await.unwrap();
    forms.lock().unwrap().clear();
    assert_eq!(copies(), [1, 0, 0, 1, 0], "the session is gone");
    drop(second);
    assert_eq!(copies(), [1, 0, 0, 0, 0], "the second one is gone");
    drop(provider);
    assert_eq!(copies(), [0; 5], "the provider is gone");
}

#[test]
fn e2_the_tokens_of_an_answer_that_cannot_be_used_are_wiped() {
    process::run("wiped::in_a_process_of_a_malformed_answer_nothing_is_left", &[]);
}

#[tokio::test(start_paused = true)]
#[ignore = "run by another test, in a process of its own"]
async fn in_a_process_of_a_malformed_answer_nothing_is_left() {
    let mut memory = Memory::open();
    let (access, refresh) = (Hidden::new(), Hidden::new());
    let answer = Arc::new(Mutex::new(Some(answer_of_type("mac", &access, &refresh))));
    assert_eq!(memory.copies([&access, &refresh]), [1, 1], "the control: what is there is found");
    let transport = tower::service_fn(move |_: Request<Full<Bytes>>| {
        ready(Ok::<_, Infallible>(Response::new(Full::new(answer.lock().unwrap().take().unwrap_or_default()))))
    });
    let credentials = Credentials::new(ID, "a-secret");
    let provider = TokenProvider::builder(environment(), credentials).transport(transport).build().unwrap();
    assert!(provider.token().await.unwrap_err().is_malformed());
    assert_eq!(memory.copies([&access, &refresh]), [0, 0]);
}

/// A text that is never written down while it is searched for. As long as real tokens: what is shorter is soon overwritten.
struct Hidden([u8; 700]);

impl Hidden {
    fn new() -> Self {
        Self(std::array::from_fn(|_| fastrand::u8(128..)))
    }

    /// The text, in one buffer.
    fn shown(&self) -> String {
        let mut text = String::with_capacity(self.0.len());
        text.extend(self.letters().map(char::from));
        text
    }

    /// From bytes that are letters themselves nowhere.
    fn letters(&self) -> impl Iterator<Item = u8> {
        self.0.iter().map(|byte| b'a' + byte % 26)
    }

    fn mark(&self) -> impl Iterator<Item = u8> {
        self.letters().take(MARK.end).skip(MARK.start)
    }
}

/// An answer of the token endpoint, in one buffer that is wiped.
fn answer(access: &Hidden, refresh: &Hidden) -> Bytes {
    answer_of_type("bearer", access, refresh)
}

fn answer_of_type(token_type: &str, access: &Hidden, refresh: &Hidden) -> Bytes {
    let mut answer = Zeroizing::new(Vec::with_capacity(4096));
    answer.extend_from_slice(b"{\"token_type\":\"");
    answer.extend_from_slice(token_type.as_bytes());
    answer.extend_from_slice(b"\",\"access_token\":\"");
    answer.extend(access.letters());
    answer.extend_from_slice(b"\",\"refresh_token\":\"");
    answer.extend(refresh.letters());
    answer.extend_from_slice(b"\"}");
    Bytes::from_owner(Wiped(answer))
}

struct Wiped(Zeroizing<Vec<u8>>);

impl AsRef<[u8]> for Wiped {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

/// The memory of this process, read as a file.
struct Memory {
    file: File,
    /// Its address is known, so that what was read is not found again.
    page: Vec<u8>,
}

impl Memory {
    fn open() -> Self {
        Self { file: File::open("/proc/self/mem").unwrap(), page: vec![0; 65_536] }
    }

    /// How often each text stands in what this process can write to.
    fn copies<const N: usize>(&mut self, texts: [&Hidden; N]) -> [usize; N] {
        let ours = self.page.as_ptr().addr()..self.page.as_ptr().addr() + self.page.len();
        // Most bytes begin none of them.
        let mut begins = [false; 256];
        for text in texts {
            begins[usize::from(text.mark().next().unwrap())] = true;
        }
        let mut copies = [0; N];
        for line in fs::read_to_string("/proc/self/maps").unwrap().lines() {
            let Some((range, "rw-p")) = line.split_once(' ').map(|(range, rest)| (range, &rest[..4])) else {
                continue;
            };
            let (start, end) = range.split_once('-').unwrap();
            let [mut start, end] = [start, end].map(|address| usize::from_str_radix(address, 16).unwrap());
            while start < end {
                let length = self.page.len().min(end - start);
                // What was unmapped meanwhile holds nothing.
                let Ok(read) = self.file.read_at(&mut self.page[..length], start as u64) else { break };
                for (offset, byte) in self.page[..read].iter().enumerate() {
                    if begins[usize::from(*byte)] && !ours.contains(&(start + offset)) {
                        let rest = &self.page[offset..read];
                        for (text, copies) in texts.iter().zip(&mut copies) {
                            *copies += usize::from(text.mark().eq(rest.iter().copied().take(MARK.len())));
                        }
                    }
                }
                if read < length || start + read == end {
                    break;
                }
                // What straddles two pages is found in the second one.
                start += read - (MARK.len() - 1);
            }
        }
        self.page.fill(0);
        copies
    }
}
