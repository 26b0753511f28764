//! Strangers: wrong tokens, foreign groups, garbage. Refused clearly on both sides, and nobody else notices.

use std::net::UdpSocket;

use anyhow::{Result, ensure};
use rand::Rng as _;
use vedette_tests::{Agent, Aggregator, GENEROUS, enrolled_pair, eventually, unix_ms};

#[test]
fn a_token_serves_once() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let aggregator = Aggregator::start(&dir.path().join("aggregator"))?;
    let token = aggregator.token("agent")?;
    let first = Agent::prepare(&dir.path().join("first"), &[])?;
    first.enroll(&token)?;
    let second = Agent::prepare(&dir.path().join("second"), &[])?;
    let error = format!("{:?}", second.enroll(&token).expect_err("a used token is refused"));
    ensure!(error.contains("used"), "the agent says why: {error}");
    aggregator.await_logged(&["level=warn", "used"])
}

#[test]
fn wrong_tokens_are_refused() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let aggregator = Aggregator::start(&dir.path().join("aggregator"))?;
    let agent = Agent::prepare(&dir.path().join("agent"), &[])?;
    let file = dir.path().join("token");

    std::fs::write(&file, "not a token")?;
    let error = format!("{:?}", agent.enroll(&file).expect_err("garbage is refused"));
    ensure!(error.contains("token"), "{error}");

    let replica = aggregator.token("replica")?;
    let error = format!("{:?}", agent.enroll(&replica).expect_err("a replica's token enrols no agent"));
    ensure!(error.contains("replica"), "{error}");

    // One character of the secret changed.
    let token = std::fs::read_to_string(aggregator.token("agent")?)?;
    let mut bytes = token.trim().as_bytes().to_vec();
    let middle = bytes.len() * 3 / 4;
    bytes[middle] = if bytes[middle] == b'A' { b'B' } else { b'A' };
    std::fs::write(&file, &bytes)?;
    ensure!(agent.enroll(&file).is_err(), "a changed token is refused");
    Ok(())
}

#[test]
fn an_agent_of_a_foreign_group_is_refused_on_both_sides() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let own = Aggregator::start(&dir.path().join("own"))?;
    let foreign = Aggregator::start(&dir.path().join("foreign"))?;
    let address = format!("--aggregator={}", own.quic_address());
    let mut agent = Agent::prepare(&dir.path().join("agent"), &["--interval=1s", &address])?;
    agent.enroll(&foreign.token("agent")?)?;
    agent.run()?;
    eventually("the agent says that it was refused", GENEROUS, || {
        let log = agent.log().to_lowercase();
        Ok((log.contains(&own.quic_address()) && (log.contains("certificate") || log.contains("ca")))
            .then_some(()))
    })?;
    eventually("the aggregator says whom it refused", GENEROUS, || {
        let log = own.log().to_lowercase();
        Ok((log.contains("refused") || log.contains("certificate")).then_some(()))
    })?;
    ensure!(own.api().query("up", None)?.is_empty(), "nothing of it was taken");
    Ok(())
}

#[test]
fn garbage_on_the_quic_port_disturbs_nobody() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let (mut aggregator, _agent) = enrolled_pair(dir.path())?;
    let api = aggregator.api();
    eventually("the first sample", GENEROUS, || api.value("node_load1", None))?;
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    let mut datagram = [0u8; 1350];
    for round in 0..5_000usize {
        rand::rng().fill_bytes(&mut datagram);
        if round % 2 == 0 {
            // Looks like a QUIC v1 initial packet.
            datagram[..5].copy_from_slice(&[0xc3, 0, 0, 0, 1]);
        }
        socket.send_to(&datagram[..20 + round % 1330], aggregator.quic_address()).ok();
    }
    let after = unix_ms();
    eventually("samples after the garbage", GENEROUS, || {
        aggregator.program()?.check_alive()?;
        let at = api.value("timestamp(node_load1)", None)?;
        Ok(at.filter(|at| *at * 1000.0 > after as f64))
    })?;
    Ok(())
}
