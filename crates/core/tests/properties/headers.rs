//! Headers against a plain list, whatever their values.
use std::time::{Duration, SystemTime};

use proptest::prelude::{
    Just, Strategy, any, prop, prop_assert, prop_assert_eq, prop_oneof, proptest,
};
use sinew_core::{Headers, Value};

fn values() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (-1e300..1e300).prop_map(Value::from),
        any::<String>().prop_map(Value::from),
        any::<Vec<u8>>().prop_map(|bytes| Value::Bytes(bytes.into())),
        any::<u32>().prop_map(|secs| Value::from(
            SystemTime::UNIX_EPOCH + Duration::from_secs(secs.into())
        )),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::List),
            prop::collection::vec((any::<String>(), inner), 0..4).prop_map(Value::Map),
        ]
    })
}

#[derive(Clone, Debug)]
enum Step {
    Insert(String, Value),
    Remove(String),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        3 => ("[a-d:é ]{1,2}", values()).prop_map(|(name, value)| Step::Insert(name, value)),
        1 => "[a-d]{1,2}".prop_map(Step::Remove),
    ];
    prop::collection::vec(step, 0..24)
}

proptest! {
    #[test]
    fn headers_behave_as_a_list_of_names_each_once(steps in steps()) {
        let mut headers = Headers::default();
        let mut list: Vec<(String, Value)> = Vec::new();
        for step in steps {
            let before = headers.clone();
            match step {
                Step::Insert(name, value) => {
                    let is_name = name.chars().all(|c| c.is_ascii_graphic() && c != ':');
                    let known = list.iter_mut().find(|(known, _)| *known == name);
                    let former = match known {
                        Some((_, old)) => Some(std::mem::replace(old, value.clone())),
                        None if is_name => {
                            list.push((name.clone(), value.clone()));
                            None
                        }
                        None => None,
                    };
                    match headers.insert(&name, value) {
                        Ok(replaced) => prop_assert_eq!(replaced, former),
                        Err(_) => {
                            prop_assert!(!is_name);
                            prop_assert_eq!(&headers, &before, "a refusal changes nothing");
                        }
                    }
                }
                Step::Remove(name) => {
                    let index = list.iter().position(|(known, _)| *known == name);
                    prop_assert_eq!(headers.remove(&name), index.map(|index| list.remove(index).1));
                }
            }
            let shown: Vec<_> =
                headers.iter().map(|(name, value)| (name.to_owned(), value.clone())).collect();
            prop_assert_eq!(&shown, &list);
            prop_assert_eq!(headers.is_empty(), headers == Headers::default());
        }
    }

    #[test]
    fn a_value_is_taken_up_to_the_depth_and_not_beyond(
        kinds in prop::collection::vec(any::<bool>(), 24..40),
    ) {
        let value = kinds.iter().fold(Value::Null, |inner, is_list| match is_list {
            true => Value::List(vec![Value::Bool(true), inner]),
            false => Value::Map(vec![(String::new(), inner)]),
        });
        let is_taken = Headers::default().insert("name", value).is_ok();
        prop_assert_eq!(is_taken, kinds.len() < Headers::MAX_DEPTH);
    }

    #[test]
    fn what_is_shown_of_headers_holds_no_value(secret in "[a-z]{12}") {
        let mut headers = Headers::default();
        headers.insert("Authorization", secret.as_str())?;
        headers.insert("Nested", Value::from_iter([secret.as_str()]))?;
        let shown = format!("{headers:?}");
        prop_assert!(!shown.contains(&secret));
    }
}
