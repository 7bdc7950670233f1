//! What an operator does to sessions, to the client and to the realm.

use super::step::Act::{
    ClientNotBefore, DisableClient, EnableClient, EndSession, Lifetimes, LiftNotBefore, NotBeforeAhead, RealmNotBefore,
    RestoreSecret, RevokeAll, RotateSecret, Wait,
};
use super::step::{Act, CLIENT_CREDENTIALS, Step, grant, logout, resource, token};

pub(super) const STEPS: &[Step] = &[
    grant("session G"),
    resource("resource, session ended", "Bearer <access session G>").after(&[EndSession("session G")]),
    token("refresh, session ended", "grant_type=refresh_token&<us>&refresh_token=<refresh session G>"),
    logout("logout, session ended", "<us>&refresh_token=<refresh session G>"),
    // The client disabled, and enabled again.
    grant("session H"),
    grant("client_credentials, client disabled").after(&[DisableClient]),
    token("refresh, client disabled", "grant_type=refresh_token&<us>&refresh_token=<refresh session H>"),
    resource("resource, client disabled", "Bearer <access session H>"),
    logout("logout, client disabled", "<us>&refresh_token=<refresh session H>"),
    token("refresh, enabled again", "grant_type=refresh_token&<us>&refresh_token=<refresh session H>")
        .after(&[EnableClient]),
    resource("resource, enabled again", "Bearer <access session H>"),
    grant("client_credentials, enabled again"),
    // Another secret.
    grant("session I"),
    token("client_credentials, old secret", "grant_type=client_credentials&client_id=<id>&client_secret=<old secret>")
        .after(&[RotateSecret]),
    token(
        "refresh, old secret",
        "grant_type=refresh_token&client_id=<id>&client_secret=<old secret>&refresh_token=<refresh session I>",
    ),
    logout("logout, old secret", "client_id=<id>&client_secret=<old secret>&refresh_token=<refresh session I>"),
    resource("resource, secret rotated", "Bearer <access session I>"),
    token("refresh, new secret", "grant_type=refresh_token&<us>&refresh_token=<refresh session I>"),
    grant("client_credentials, new secret"),
    // Other lifetimes.
    grant("session J").after(&[RestoreSecret]),
    token("refresh, shorter lifetimes", "grant_type=refresh_token&<us>&refresh_token=<refresh session J>")
        .after(&[Lifetimes(120, 600, 36_000)]),
    token("client_credentials, shorter lifetimes", CLIENT_CREDENTIALS),
    token(
        "refresh, session maximum below the access lifetime",
        "grant_type=refresh_token&<us>&refresh_token=<refresh session J>",
    )
    .after(&[Lifetimes(3_600, 7_200, 1_800)]),
    token("client_credentials, session maximum below the access lifetime", CLIENT_CREDENTIALS),
    // Tokens revoked by their age. One not-before at a time: in 24.0.5 and older the earlier of two holds.
    grant("session K").after(&[Lifetimes(3_600, 7_200, 36_000)]),
    resource("resource, client's not-before", "Bearer <access session K>").after(&[ClientNotBefore]),
    token("refresh, client's not-before", "grant_type=refresh_token&<us>&refresh_token=<refresh session K>"),
    grant("session L"),
    resource("resource, issued after the client's not-before", "Bearer <access session L>"),
    resource("resource, realm's not-before", "Bearer <access session L>").after(&[LiftNotBefore, RealmNotBefore]),
    token("refresh, realm's not-before", "grant_type=refresh_token&<us>&refresh_token=<refresh session L>"),
    logout("logout, realm's not-before", "<us>&refresh_token=<refresh session L>"),
    grant("session M"),
    resource("resource, issued after the realm's not-before", "Bearer <access session M>"),
    token("refresh, issued after it", "grant_type=refresh_token&<us>&refresh_token=<refresh session M>"),
    // A moment in the future.
    grant("session N").after(&[LiftNotBefore]),
    grant("client_credentials, not-before ahead").after(&[NotBeforeAhead("session N", 10)]),
    resource("resource, not-before ahead", "Bearer <access client_credentials, not-before ahead>"),
    token(
        "refresh, not-before ahead",
        "grant_type=refresh_token&<us>&refresh_token=<refresh client_credentials, not-before ahead>",
    ),
    grant("client_credentials, not-before passed").after(&[Wait(11_000)]),
    resource("resource, not-before passed", "Bearer <access client_credentials, not-before passed>"),
    resource("resource, not-before passed, older token", "Bearer <access client_credentials, not-before ahead>"),
    // Everything at once.
    grant("session O").after(&[LiftNotBefore]),
    resource("resource, after revoke-all", "Bearer <access session O>").after(&[RevokeAll]),
    token("refresh, after revoke-all", "grant_type=refresh_token&<us>&refresh_token=<refresh session O>"),
    logout("logout, after revoke-all", "<us>&refresh_token=<refresh session O>"),
    grant("client_credentials, after revoke-all"),
    resource("resource, issued after revoke-all", "Bearer <access client_credentials, after revoke-all>"),
];

pub(super) const UNDO: &[Act] = &[LiftNotBefore];
