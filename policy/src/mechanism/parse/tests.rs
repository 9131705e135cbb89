use super::*;

#[test]
fn mechanisms_are_written_as_they_are_read() {
    for (text, written) in [
        ("gaussian(sigma=2.1)", "gaussian(sigma=2.1)"),
        ("  laplace ( scale = 10 ) ", "laplace(scale=10)"),
        (
            "dp-sgd(steps=10000,\n sample-rate=.01, noise-multiplier=1.10)",
            "dp-sgd(noise-multiplier=1.1,sample-rate=0.01,steps=10000)",
        ),
        (
            "3 * laplace(scale=1e+1)+gaussian(sigma=1e-9)",
            "3*laplace(scale=10) + gaussian(sigma=1e-9)",
        ),
        (
            "1*guarantee(epsilon=0.50,delta=1e-9)",
            "guarantee(epsilon=0.5,delta=0.000000001)",
        ),
        (
            "subsampled-laplace(sample-rate=0.20, scale=.5)",
            "subsampled-laplace(scale=0.5,sample-rate=0.2)",
        ),
        (
            "tree-aggregation(steps=1600,noise-multiplier=8.80)",
            "tree-aggregation(noise-multiplier=8.8,steps=1600)",
        ),
        (
            "randomized-response(categories=10,noise-probability=.3,neighbours=replace-one)",
            "randomized-response(noise-probability=0.3,categories=10)",
        ),
        (
            "randomized-response(neighbours=replace-special,noise-probability=1,categories=2)",
            "randomized-response(noise-probability=1,categories=2,neighbours=replace-special)",
        ),
        (
            "1e1*tree-aggregation(noise-multiplier=1e0,steps=1e6)",
            "10*tree-aggregation(noise-multiplier=1,steps=1000000)",
        ),
        ("exponential(epsilon=1.0)", "exponential(epsilon=1)"),
        ("2*pure(epsilon=1e-12)", "2*pure(epsilon=0.000000000001)"),
        ("zcdp(rho=.050)", "zcdp(rho=0.05)"),
        ("zcdp(xi=-0,rho=1)", "zcdp(rho=1)"),
        ("zcdp(xi=0.1,rho=1)", "zcdp(rho=1,xi=0.1)"),
    ] {
        let mechanism: Mechanism = text.parse().unwrap();
        assert_eq!(mechanism.to_string(), written);
        assert_eq!(written.parse(), Ok(mechanism));
    }
}

#[track_caller]
fn is_refused(text: &str, message: &str) {
    let error = text.parse::<Mechanism>().unwrap_err();
    assert_eq!(error.to_string(), message, "{text}");
}

#[test]
fn what_is_not_a_mechanism_says_what_is_accepted() {
    let known = KNOWN;
    let like = "write a mechanism like gaussian(sigma=2.1) or 3*laplace(scale=10)";
    for (text, message) in [
        ("", format!("expected a mechanism at \"\": {like}")),
        (
            "sparse-vector(epsilon=1)",
            format!("\"sparse-vector\" is not a known mechanism: use {known}"),
        ),
        (
            "gauss(sigma=1)",
            "\"gauss\" is not a known mechanism: did you mean gaussian?".to_owned(),
        ),
        (
            "Gaussian(sigma=1)",
            "\"Gaussian\" is not a known mechanism: did you mean gaussian?".to_owned(),
        ),
        (
            "dp_sgd(noise-multiplier=1,sample-rate=1,steps=1)",
            "\"dp_sgd\" is not a known mechanism: did you mean dp-sgd?".to_owned(),
        ),
        ("gaussian", format!("expected ( at \"\": {like}")),
        ("gaussian(sigma=1", format!("expected , or ) at \"\": {like}")),
        (
            "gaussian(sigma=1) laplace",
            format!("expected + or the end at \"laplace\": {like}"),
        ),
        (
            "gaussian(sigma=1)+",
            format!("expected a mechanism at \"\": {like}"),
        ),
        (
            "3 laplace(scale=1)",
            format!("expected * after a number at \"laplace(scale=1)\": {like}"),
        ),
        (
            "-1*laplace(scale=1)",
            format!("expected a mechanism at \"-1*laplace(scale=1)\": {like}"),
        ),
        (
            "0*laplace(scale=1)",
            "a multiple is \"0\": it must be a whole number from 1 to 18446744073709551615, like 10000 or 1e6".to_owned(),
        ),
    ] {
        is_refused(text, &message);
    }
}

#[test]
fn wrong_parameters_say_what_is_accepted() {
    let like = "write a mechanism like gaussian(sigma=2.1) or 3*laplace(scale=10)";
    for (text, message) in [
        (
            "gaussian()",
            "gaussian needs sigma: write gaussian(sigma=2.1)".to_owned(),
        ),
        (
            "gaussian(scale=1)",
            "gaussian has no parameter \"scale\", needs sigma: write gaussian(sigma=2.1)".to_owned(),
        ),
        (
            "gaussian(Sigma=1)",
            "gaussian has no parameter \"Sigma\" (did you mean sigma?): write gaussian(sigma=2.1)".to_owned(),
        ),
        (
            "gaussian(sigma=1,sigma=2)",
            "gaussian has sigma twice: write gaussian(sigma=2.1)".to_owned(),
        ),
        (
            "gaussian(30)",
            "gaussian takes \"30\" only with a name (did you mean sigma=30?): write gaussian(sigma=2.1)"
                .to_owned(),
        ),
        (
            "gaussian(sigma=1,2)",
            "gaussian takes \"2\" only with a name: write gaussian(sigma=2.1)".to_owned(),
        ),
        (
            "gaussian(=1)",
            format!("expected the name of a parameter at \"=1)\": {like}"),
        ),
        (
            "gaussian(sigma=1,)",
            format!("expected the name of a parameter at \")\": {like}"),
        ),
    ] {
        is_refused(text, &message);
    }
}

#[test]
fn wrong_values_say_what_is_accepted() {
    let finite = "it must be a finite number above 0, like 2.1 or 1e3";
    for (text, message) in [
        ("gaussian(sigma=)", format!("sigma is \"\": {finite}")),
        ("gaussian(sigma=0)", format!("sigma is \"0\": {finite}")),
        ("gaussian(sigma=-1)", format!("sigma is \"-1\": {finite}")),
        ("gaussian(sigma=inf)", format!("sigma is \"inf\": {finite}")),
        ("gaussian(sigma=1e999)", format!("sigma is \"1e999\": {finite}")),
        ("laplace(scale=NaN)", format!("scale is \"NaN\": {finite}")),
        ("laplace(scale=ten)", format!("scale is \"ten\": {finite}")),
        (
            "dp-sgd(noise-multiplier=1,sample-rate=1.1,steps=1)",
            "sample-rate is \"1.1\": it must be a number above 0 and at most 1, like 0.01".to_owned(),
        ),
        (
            "dp-sgd(noise-multiplier=1,sample-rate=1,steps=1.5)",
            "steps is \"1.5\": it must be a whole number from 1 to 18446744073709551615, like 10000 or 1e6"
                .to_owned(),
        ),
        (
            "dp-sgd(noise-multiplier=1,sample-rate=1)",
            "dp-sgd needs steps: write dp-sgd(noise-multiplier=1.1,sample-rate=0.01,steps=10000)".to_owned(),
        ),
        (
            "dp-sgd(noise-multiplier=1,steps=1)",
            "dp-sgd needs sample-rate or batch-size: write \
             dp-sgd(noise-multiplier=1.1,sample-rate=0.01,steps=10000)"
                .to_owned(),
        ),
        (
            "randomized-response(probability=0.5,categories=2)",
            "randomized-response has no parameter \"probability\", needs noise-probability: write \
             randomized-response(noise-probability=0.3,categories=10)"
                .to_owned(),
        ),
        (
            "randomized-response(noise-probability=0,categories=2)",
            "noise-probability is \"0\": it must be a number above 0 and at most 1, like 0.01".to_owned(),
        ),
        (
            "randomized-response(noise-probability=0.5,categories=1)",
            "categories is \"1\": it must be a whole number of 2 or more".to_owned(),
        ),
        (
            "randomized-response(noise-probability=0.5,categories=2,neighbours=all)",
            "neighbours is \"all\": it must be replace-one or replace-special".to_owned(),
        ),
        (
            "zcdp(rho=1,xi=-1)",
            "xi is \"-1\": it must be a finite number of 0 or more".to_owned(),
        ),
        (
            "pure(epsilon=0)",
            "epsilon is 0: a demand needs an epsilon above 0".to_owned(),
        ),
        (
            "guarantee(epsilon=0,delta=0)",
            "epsilon is 0: a demand needs an epsilon above 0".to_owned(),
        ),
        (
            "guarantee(epsilon=x,delta=0)",
            "epsilon: \"x\" is not a number: write a decimal like 0.5 or 1e-9".to_owned(),
        ),
    ] {
        is_refused(text, &message);
    }
}

#[test]
fn one_fault_never_hides_another() {
    for (text, message) in [
        (
            "Gaussian(sigma=0) + dp_sgd(1.1,sample_rate=2,steps=1e6)",
            "\"Gaussian\" is not a known mechanism: did you mean gaussian?; \
             sigma is \"0\": it must be a finite number above 0, like 2.1 or 1e3; \
             \"dp_sgd\" is not a known mechanism: did you mean dp-sgd?; \
             dp-sgd takes \"1.1\" only with a name (did you mean noise-multiplier=1.1?), \
             has no parameter \"sample_rate\" (did you mean sample-rate?): write \
             dp-sgd(noise-multiplier=1.1,sample-rate=0.01,steps=10000); \
             sample-rate is \"2\": it must be a number above 0 and at most 1, like 0.01",
        ),
        (
            "0*laplace(scale=-1) laplace",
            "a multiple is \"0\": it must be a whole number from 1 to 18446744073709551615, like 10000 or 1e6; \
             scale is \"-1\": it must be a finite number above 0, like 2.1 or 1e3; \
             expected + or the end at \"laplace\": write a mechanism like gaussian(sigma=2.1) or 3*laplace(scale=10)",
        ),
    ] {
        is_refused(text, message);
    }
    let unknown = "sparse(epsilon=1) + ".repeat(19) + "laplace(scale=0)";
    let Err(MechanismError::Several(faults)) = unknown.parse::<Mechanism>() else {
        panic!("{unknown}")
    };
    assert_eq!(faults.len(), 20);
    let message = MechanismError::Several(faults).to_string();
    assert!(message.ends_with("; and 12 more"), "{message}");
}

#[test]
fn very_long_texts_are_not_read() {
    let long = "laplace(scale=1)+".repeat(60);
    assert!(matches!(
        long.parse::<Mechanism>(),
        Err(MechanismError::TooLong {
            length: 1020,
            most: 1000
        })
    ));
    let many = format!("{}laplace(scale=1)", "laplace(scale=1)+".repeat(20));
    assert_eq!(
        many.parse::<Mechanism>(),
        Err(MechanismError::TooManyTerms { most: 20 })
    );
}
