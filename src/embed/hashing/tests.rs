//! Similar texts have similar vectors, different ones do not, and the vectors never change.

use sha2::{Digest, Sha256};

use super::*;
use crate::domain::vector::UnitVector;

/// Paraphrases: a memory and a later question about it.
const PAIRS: [(&str, &str); 36] = [
    ("My dog is called Rex", "What is my dog called?"),
    ("I live in Amsterdam near the central station", "Which city near a station do I live in?"),
    ("I am allergic to peanuts", "Do I have any allergies, peanuts for example?"),
    ("My sister's birthday is on the 4th of May", "When is the birthday of my sister?"),
    ("The server runs on port 8080", "On which port does our server run?"),
    ("We deploy to Kubernetes every Friday", "On what day do we do Kubernetes deployments?"),
    ("My favourite colour is green", "Which colour is my favourite one?"),
    ("The invoice number is 4711", "Give me the number of that invoice"),
    ("I parked the car on level three of the garage", "Where in the garage did I park my car?"),
    ("Our database is PostgreSQL 15", "Which version of the PostgreSQL database do we use?"),
    ("The meeting with Alice moved to Tuesday", "When is my meeting with Alice?"),
    ("My daughter plays the violin in the school orchestra", "What does my daughter play?"),
    ("The recipe needs two eggs and a cup of flour", "How many eggs are needed in the recipe?"),
    ("I started learning Spanish last winter", "How long have I been learning Spanish?"),
    ("The password policy demands twelve characters", "How long must passwords be by policy?"),
    ("Our cat sleeps on the piano", "Where is the cat sleeping?"),
    ("The flight to Lisbon leaves at seven", "What time is my Lisbon flight?"),
    ("I take my coffee without sugar", "Do I want sugar in a coffee?"),
    ("The bug is in the parser of the config module", "Where was that config parser bug?"),
    ("My thesis is about bird migration", "What is the topic of the thesis on migrating birds?"),
    ("The rent is nine hundred euros a month", "How many euros is my monthly rent?"),
    ("Our grandmother grew up in Norway", "In what country did grandmother grow up?"),
    ("The printer jams when it is humid", "Why does our printer keep jamming?"),
    ("I broke my left arm skiing", "Which arm did I break when I went skiing?"),
    ("The library closes at eight on weekdays", "When does the library close?"),
    ("My bicycle has a flat tyre", "What is wrong with the tyre of my bike, the bicycle?"),
    ("We planted tomatoes behind the shed", "What did we plant behind the garden shed?"),
    ("The doctor prescribed vitamin D", "Which vitamin was it that my doctor prescribes?"),
    ("The backup job fails with a timeout", "Why is the backup failing, is it a timeout?"),
    ("Our wedding was in September in Rome", "Where did we have the wedding?"),
    ("I read the novel by Tolstoy twice", "How often have I read Tolstoy's novel?"),
    ("The red wire is connected to the battery", "Where do I connect the red wire?"),
    ("My boss is away until Monday", "When will the boss be back, on Monday?"),
    ("The experiment used forty mice", "How many mice were in the experiments?"),
    ("Meine Katze heißt Minka", "Wie heißt meine Katze?"),
    ("我的狗叫小白", "我的狗叫什么名字"),
];

fn unit(text: &str) -> UnitVector {
    vector(text, DIMENSION_DEFAULT).unwrap()
}

/// Goal: a search distinguishes the relevant memory from all others. Method: the probability that a
/// pair scores above a mixed pair (area under the ROC curve), and the number of pairs whose partner
/// is the nearest.
#[test]
fn paraphrases_are_nearer_than_unrelated_texts() {
    let memories = PAIRS.map(|(memory, _)| unit(memory));
    let questions = PAIRS.map(|(_, question)| unit(question));
    let score = |m: usize, q: usize| memories[m].dot(&questions[q]);
    let (mut above, mut all, mut nearest) = (0_u32, 0_u32, 0);
    for pair in 0..PAIRS.len() {
        let strangers = (0..PAIRS.len()).filter(|other| *other != pair);
        let best = strangers.map(|other| score(other, pair)).fold(-1.0, f64::max);
        nearest += u32::from(score(pair, pair) > best);
        for (m, q) in (0..PAIRS.len()).flat_map(|m| (0..PAIRS.len()).map(move |q| (m, q))) {
            if m != q {
                all += 1;
                above += u32::from(score(pair, pair) > score(m, q));
            }
        }
    }
    let area = f64::from(above) / f64::from(all);
    assert!(area >= 0.98, "area under the curve {area}");
    assert!(nearest >= 34, "nearest to its question: {nearest} of {}", PAIRS.len());
}

#[test]
fn the_memory_about_the_dog_is_the_nearest() {
    let question = unit("What is my dog called?");
    let dog = question.dot(&unit("My dog is called Rex"));
    assert!(dog >= 0.3, "{dog}");
    for other in ["The capital of France is Paris", "What is the time?", "Is my tea hot?"] {
        let other_score = question.dot(&unit(other));
        assert!(other_score < dog / 2.0, "{other}: {other_score} against {dog}");
    }
}

#[test]
fn case_order_and_punctuation_matter_little() {
    let plain = unit("the quick brown fox jumps");
    for same in ["The QUICK, brown fox jumps!", "jumps: the fox (brown, quick)"] {
        assert!(plain.dot(&unit(same)) > 0.999, "{same}");
    }
}

#[test]
fn every_text_has_a_vector() {
    for text in ["", " ", "!?!?", "…", "a", "\0", "的", "🙂", "'", "I", "---\n---"] {
        for dimension in [1, 2, 3, 384, 4096] {
            assert!(vector(text, dimension).is_ok(), "{text:?} {dimension}");
        }
    }
    assert!(unit("!?!?").dot(&unit("🙂")) < 0.9, "different bytes give different vectors");
    assert!(vector("no room", 0).is_err());
}

#[test]
fn function_words_are_sorted() {
    assert!(FUNCTION_WORDS.is_sorted());
}

/// Goal: the vectors of existing engines never change unnoticed. If this fails, raise
/// `HASHING_VERSION`.
#[test]
fn the_vectors_of_version_one_never_change() {
    let text = "My dog is called Rex. 我的狗 ÄÖÜ naïve 42, dog dog!";
    let digest = hex::encode(Sha256::digest(unit(text).to_bytes()));
    assert_eq!(digest, "53340dc00e086c90599067cbe79bf94dda6efe0b2aab054d575b121293ba8f7c");
}
