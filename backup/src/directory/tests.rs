//! What a writer leaves in a directory when a disk is full, lines are torn, or another one writes at the same time.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use privatekube_api::DatasetKey;
use privatekube_ledger::{Entry, Hash, Ledger, MemoryStore};
use privatekube_policy::{Composition, DatasetRules, Event, Policy, Revision, Time, Unlocking};

use super::{
    DirectoryWriter, LedgerDirectory, find_ledgers,
    segment::segments,
    writer::{Batch, Output},
};

/// `count` entries of one ledger, each of which adds a block.
fn entries(writer: &str, count: u64) -> Vec<(Hash, Entry)> {
    let composition = Composition::Basic;
    let capacity = composition
        .capacity("1".parse().unwrap(), "0".parse().unwrap())
        .unwrap();
    let rules = DatasetRules {
        policy: Policy::Dpf,
        unlocking: Unlocking::Immediate,
        composition,
        revision: Revision::CURRENT,
    };
    let store = MemoryStore::new();
    futures::executor::block_on(async {
        let mut ledger = Ledger::open(store.clone(), writer.to_owned(), rules)
            .await
            .unwrap();
        for number in 1..=count {
            let mut draft = ledger.draft(Time::from_micros(number)).unwrap();
            let block = format!("b{number}").as_str().into();
            let capacity = capacity.clone();
            draft.apply(Event::AddBlock { block, capacity }).unwrap();
            draft.commit().await.unwrap();
        }
    });
    let entries = store.entries().into_iter();
    entries.map(|entry| (entry.hash().unwrap(), entry)).collect()
}

fn directory(root: &Path) -> LedgerDirectory {
    let dataset = DatasetKey {
        namespace: "data".into(),
        name: "taxi".into(),
    };
    LedgerDirectory::new(root, dataset, "uid").unwrap()
}

fn batch(entries: &[(Hash, Entry)]) -> Batch {
    Batch {
        entries: entries.to_vec(),
        ..Batch::default()
    }
}

/// A disk that takes so many bytes.
struct Disk(Arc<AtomicUsize>, fs::File);

impl Write for Disk {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let left = self.0.load(Ordering::Relaxed);
        let taken = left.min(bytes.len());
        if taken == 0 {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.0.store(left - taken, Ordering::Relaxed);
        self.1.write(&bytes[..taken])
    }

    fn flush(&mut self) -> io::Result<()> {
        self.1.flush()
    }
}

impl Output for Disk {
    fn sync(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn is_at(&self, path: &Path) -> io::Result<bool> {
        Output::is_at(&self.1, path)
    }
}

/// A writer to a disk that takes so many bytes.
fn on_disk(ledger: LedgerDirectory, left: &Arc<AtomicUsize>, segment_bytes: u64) -> DirectoryWriter {
    let left = Arc::clone(left);
    let create = move |path: &Path| -> io::Result<Box<dyn Output>> {
        let file = OpenOptions::new().write(true).create_new(true).open(path)?;
        Ok(Box::new(Disk(Arc::clone(&left), file)))
    };
    DirectoryWriter::after(ledger, None).within(segment_bytes, Arc::new(create))
}

/// How many entries lead to the last one.
fn read(root: &Path) -> usize {
    let found = find_ledgers(root, &mut Vec::new()).unwrap();
    assert_eq!(found.len(), 1);
    found[0].entries.len()
}

fn witnessed(ledger: &LedgerDirectory) -> Option<(u64, Hash)> {
    let witness = ledger.witness().unwrap();
    witness.map(|witness| (witness.sequence, witness.hash))
}

#[test]
fn a_full_disk_loses_nothing_that_was_exported_and_leaves_no_more_files_than_before() {
    let root = tempfile::tempdir().unwrap();
    let (ledger, all) = (directory(root.path()), entries("w", 4));
    let left = Arc::new(AtomicUsize::new(usize::MAX));
    let mut writer = on_disk(ledger.clone(), &left, u64::MAX);
    writer.append(batch(&all[..2])).unwrap();
    // Half of the third entry, and then nothing.
    for bytes in [100, 0, 0, 0] {
        left.store(bytes, Ordering::Relaxed);
        let error = writer.append(batch(&all[2..])).unwrap_err().to_string();
        assert!(error.contains(".jsonl: "), "{error}");
        assert_eq!(writer.head(), Some((2, all[1].0)));
        assert_eq!(segments(ledger.path()).unwrap().len(), 1);
        assert_eq!((read(root.path()), witnessed(&ledger)), (2, writer.head()));
    }
    left.store(usize::MAX, Ordering::Relaxed);
    writer.append(batch(&all[2..])).unwrap();
    assert_eq!((read(root.path()), witnessed(&ledger)), (4, Some((4, all[3].0))));
    assert_eq!(segments(ledger.path()).unwrap().len(), 2);
}

#[test]
fn segments_are_bounded() {
    let root = tempfile::tempdir().unwrap();
    let (ledger, all) = (directory(root.path()), entries("w", 9));
    let left = Arc::new(AtomicUsize::new(usize::MAX));
    let mut writer = on_disk(ledger.clone(), &left, 1500);
    for entry in all.chunks(1) {
        writer.append(batch(entry)).unwrap();
    }
    let sizes: Vec<u64> = segments(ledger.path())
        .unwrap()
        .iter()
        .map(|segment| fs::metadata(&segment.path).unwrap().len())
        .collect();
    assert!(
        sizes.len() > 1 && sizes.iter().all(|size| *size < 2500),
        "{sizes:?}"
    );
    assert_eq!((read(root.path()), witnessed(&ledger)), (9, Some((9, all[8].0))));
    for (hash, entry) in &all {
        assert_eq!(ledger.hash_of(entry.sequence).unwrap(), Some(*hash));
    }
    assert_eq!(ledger.hash_of(10).unwrap(), None);
}

#[test]
fn a_torn_line_is_passed_over_wherever_it_was_torn() {
    let all = entries("w", 3);
    let root = tempfile::tempdir().unwrap();
    let ledger = directory(root.path());
    let mut writer = DirectoryWriter::after(ledger.clone(), None);
    writer.append(batch(&all[..2])).unwrap();
    let path = segments(ledger.path()).unwrap()[0].path.clone();
    let before = fs::read(&path).unwrap();
    writer.append(batch(&all[2..])).unwrap();
    let whole = fs::read(&path).unwrap();
    for length in before.len()..whole.len() {
        fs::write(&path, &whole[..length]).unwrap();
        let witness = ledger.witness().unwrap().unwrap();
        assert_eq!((witness.sequence, read(root.path())), (2, 2), "{length}");
        if length % 50 == 0 {
            let mut next = DirectoryWriter::after(ledger.clone(), Some(&witness));
            next.append(batch(&all[2..])).unwrap();
            assert_eq!((read(root.path()), witnessed(&ledger)), (3, Some((3, all[2].0))));
            fs::remove_file(&segments(ledger.path()).unwrap()[1].path).unwrap();
        }
    }
}

#[test]
fn a_former_leader_that_still_writes_damages_nothing() {
    let root = tempfile::tempdir().unwrap();
    let (ledger, all) = (directory(root.path()), entries("w", 8));
    let mut former = DirectoryWriter::after(ledger.clone(), None);
    former.append(batch(&all[..3])).unwrap();
    let witness = ledger.witness().unwrap();
    let mut leader = DirectoryWriter::after(ledger.clone(), witness.as_ref());
    // Both write at the same time, the same entries and others.
    former.append(batch(&all[3..5])).unwrap();
    leader.append(batch(&all[3..4])).unwrap();
    former.append(batch(&all[5..8])).unwrap();
    leader.append(batch(&all[4..7])).unwrap();
    assert_eq!((read(root.path()), witnessed(&ledger)), (8, Some((8, all[7].0))));
    // Two that begin at the same entry have two segments.
    for _ in 0..2 {
        let mut again = DirectoryWriter::after(ledger.clone(), witness.as_ref());
        again.append(batch(&all[3..])).unwrap();
    }
    assert_eq!(segments(ledger.path()).unwrap().len(), 4);
    assert_eq!(read(root.path()), 8);
}

#[test]
fn another_ledger_is_refused_and_goes_on_in_another_generation() {
    let root = tempfile::tempdir().unwrap();
    let (ledger, lost, other) = (directory(root.path()), entries("w", 4), entries("v", 6));
    DirectoryWriter::after(ledger.clone(), None)
        .append(batch(&lost))
        .unwrap();
    let witness = ledger.witness().unwrap().unwrap();
    let mut writer = DirectoryWriter::after(ledger.clone(), Some(&witness));
    let error = writer.append(batch(&other[4..])).unwrap_err().to_string();
    assert!(
        error.contains("entry 5 of the ledger doesn't follow entry 4"),
        "{error}"
    );
    assert_eq!(segments(ledger.path()).unwrap().len(), 1);

    let mut writer = DirectoryWriter::giving_up(ledger.clone(), &witness);
    writer.append(batch(&other)).unwrap();
    assert_eq!(
        (read(root.path()), witnessed(&ledger)),
        (6, Some((6, other[5].0)))
    );
    // What a former writer appends to the generation before counts no more.
    let mut former = DirectoryWriter::after(ledger.clone(), None);
    former.append(batch(&entries("w", 9))).unwrap();
    assert_eq!(
        (read(root.path()), witnessed(&ledger)),
        (6, Some((6, other[5].0)))
    );
    let text = fs::read_to_string(&segments(ledger.path()).unwrap().pop().unwrap().path).unwrap();
    let says = format!("\"givesUp\":{{\"sequence\":4,\"hash\":\"{}\"}}", lost[3].0);
    assert!(text.lines().next().unwrap().contains(&says), "{text}");
}

#[test]
fn a_line_that_was_changed_is_no_entry() {
    let root = tempfile::tempdir().unwrap();
    let (ledger, all) = (directory(root.path()), entries("w", 3));
    let mut writer = DirectoryWriter::after(ledger.clone(), None);
    writer.append(batch(&all)).unwrap();
    let path = &segments(ledger.path()).unwrap()[0].path;
    let text = fs::read_to_string(path).unwrap();
    fs::write(path, text.replacen("b2", "b7", 1)).unwrap();
    let error = find_ledgers(root.path(), &mut Vec::new())
        .unwrap_err()
        .to_string();
    assert!(error.contains("entry 2 is missing"), "{error}");
    // Another writer that has the entry completes it.
    let mut again = DirectoryWriter::after(ledger.clone(), None);
    again.append(batch(&all)).unwrap();
    let found = find_ledgers(root.path(), &mut Vec::new()).unwrap();
    assert_eq!(
        (found[0].entries.len(), found[0].notes.len()),
        (3, 1),
        "{found:?}"
    );
    assert!(
        found[0].notes[0].contains("line 3 was passed over: entry 2 has the hash"),
        "{found:?}"
    );
}

#[test]
fn a_volume_that_is_not_mounted_is_no_empty_export() {
    let root = tempfile::tempdir().unwrap();
    let gone = root.path().join("gone");
    let dataset = directory(root.path()).dataset;
    let error = LedgerDirectory::new(&gone, dataset.clone(), "uid")
        .unwrap_err()
        .to_string();
    assert!(error.ends_with("mount its volume, or create it"), "{error}");
    for uid in ["", "..", "a/b", ".hidden"] {
        assert!(
            LedgerDirectory::new(root.path(), dataset.clone(), uid).is_err(),
            "{uid}"
        );
    }
    // One that goes meanwhile isn't made again.
    fs::create_dir(&gone).unwrap();
    let mut writer = DirectoryWriter::after(directory(&gone), None);
    fs::remove_dir(&gone).unwrap();
    let error = writer.append(batch(&entries("w", 1))).unwrap_err().to_string();
    assert!(error.contains("its export directory is gone"), "{error}");
}

#[test]
fn a_generation_that_was_begun_and_has_no_entry_yet_is_none() {
    let root = tempfile::tempdir().unwrap();
    let (ledger, lost, other) = (directory(root.path()), entries("w", 4), entries("other", 6));
    DirectoryWriter::after(ledger.clone(), None)
        .append(batch(&lost))
        .unwrap();
    let witness = ledger.witness().unwrap().unwrap();
    // The process ended after it had made the file, and wrote nothing more, its first line alone, or a part of an entry.
    let mut next = DirectoryWriter::giving_up(ledger.clone(), &witness);
    next.append(batch(&other)).unwrap();
    let path = segments(ledger.path()).unwrap().pop().unwrap().path;
    let text = fs::read_to_string(&path).unwrap();
    let header = text.find('\n').unwrap() + 1;
    for length in [0, header, header + 100] {
        fs::write(&path, &text[..length]).unwrap();
        assert_eq!(ledger.witness().unwrap(), Some(witness), "{length}");
        assert_eq!(ledger.hash_of(2).unwrap(), Some(lost[1].0), "{length}");
        assert_eq!(read(root.path()), 4, "{length}");
    }
    DirectoryWriter::giving_up(ledger.clone(), &witness)
        .append(batch(&other))
        .unwrap();
    assert_eq!(
        (read(root.path()), witnessed(&ledger)),
        (6, Some((6, other[5].0)))
    );
}

#[test]
fn a_directory_that_was_replaced_is_noticed_and_filled_again() {
    let above = tempfile::tempdir().unwrap();
    let (root, aside) = (above.path().join("export"), above.path().join("aside"));
    fs::create_dir(&root).unwrap();
    let (ledger, all) = (directory(&root), entries("w", 6));
    let mut writer = DirectoryWriter::after(ledger.clone(), None);
    writer.append(batch(&all[..3])).unwrap();
    // Its file is open still, and takes what is written.
    fs::rename(&root, &aside).unwrap();
    let error = writer.is_there().unwrap_err().to_string();
    assert!(error.contains("its export directory is gone"), "{error}");
    fs::create_dir(&root).unwrap();
    let error = writer.append(batch(&all[3..4])).unwrap_err().to_string();
    assert!(error.contains("was replaced"), "{error}");
    assert_eq!((writer.head(), writer.is_there().unwrap()), (None, true));
    writer.append(batch(&all[..4])).unwrap();
    assert_eq!(
        (read(&root), read(&aside), witnessed(&ledger)),
        (4, 3, writer.head())
    );
    // By a copy of itself, and by an older one.
    fs::rename(&root, above.path().join("moved")).unwrap();
    fs::create_dir_all(ledger.path()).unwrap();
    for segment in segments(&above.path().join("moved/data/taxi/uid")).unwrap() {
        let name = segment.path.file_name().unwrap();
        fs::copy(&segment.path, ledger.path().join(name)).unwrap();
    }
    assert!(writer.is_there().unwrap());
    let copy = segments(ledger.path()).unwrap().remove(0).path;
    let text = fs::read(&copy).unwrap();
    writer.append(batch(&all[4..])).unwrap();
    assert_eq!(segments(ledger.path()).unwrap().len(), 2);
    for segment in segments(ledger.path()).unwrap() {
        fs::remove_file(segment.path).unwrap();
    }
    fs::write(&copy, &text).unwrap();
    assert!(!writer.is_there().unwrap());
    assert_eq!(writer.head(), Some((4, all[3].0)));
    writer.append(batch(&all[4..])).unwrap();
    assert_eq!((read(&root), witnessed(&ledger)), (6, writer.head()));
    // Another process's file goes.
    let mut next = DirectoryWriter::after(ledger.clone(), ledger.witness().unwrap().as_ref());
    assert!(next.is_there().unwrap());
    for segment in segments(ledger.path()).unwrap() {
        fs::remove_file(segment.path).unwrap();
    }
    assert!(!next.is_there().unwrap());
    assert_eq!(next.head(), None);
}

#[test]
fn a_dataset_with_the_name_of_a_segment_and_what_others_put_there_are_passed_over() {
    let root = tempfile::tempdir().unwrap();
    let all = entries("w", 2);
    let odd = DatasetKey {
        namespace: "data".into(),
        name: "0001-0000000001.jsonl".into(),
    };
    let odd = LedgerDirectory::new(root.path(), odd, "uid").unwrap();
    fs::create_dir(root.path().join("lost+found")).unwrap();
    fs::write(root.path().join("lost+found/0001-0000000001.jsonl"), "{").unwrap();
    for ledger in [odd, directory(root.path())] {
        DirectoryWriter::after(ledger.clone(), None)
            .append(batch(&all))
            .unwrap();
        assert_eq!(witnessed(&ledger), Some((2, all[1].0)));
    }
    let found = find_ledgers(root.path(), &mut Vec::new()).unwrap();
    let names: Vec<_> = found.iter().map(|found| found.dataset.name.as_str()).collect();
    assert_eq!(names, ["0001-0000000001.jsonl", "taxi"]);
}

#[test]
fn what_a_later_version_wrote_is_refused_and_not_passed_over() {
    let root = tempfile::tempdir().unwrap();
    let (ledger, all) = (directory(root.path()), entries("w", 3));
    let mut writer = DirectoryWriter::after(ledger.clone(), None);
    writer.append(batch(&all)).unwrap();
    let path = &segments(ledger.path()).unwrap()[0].path;
    let text = fs::read_to_string(path).unwrap();
    let last = text.lines().next_back().unwrap();
    let later_entry = last.replace("\"writer\":", "\"later\":1,\"writer\":");
    for (changed, is_last) in [
        (text.replace(last, &later_entry), true),
        (text.replacen("\"version\":1", "\"version\":2", 1), false),
        (text.replace(last, &format!("{{\"later\":{{}}}}\n{last}")), false),
    ] {
        assert_ne!(changed, text);
        fs::write(path, &changed).unwrap();
        let error = find_ledgers(root.path(), &mut Vec::new())
            .unwrap_err()
            .to_string();
        assert!(error.contains("a later version of PrivateKube"), "{error}");
        // The last entry can't be known then; otherwise it can.
        assert_eq!(ledger.witness().is_err(), is_last, "{changed}");
        assert!(ledger.hash_of(3).is_err(), "{changed}");
    }
    // Two lines that became one are no line of a later version.
    fs::write(path, text.replacen("\n{\"hash\"", "{\"hash\"", 1)).unwrap();
    assert_eq!(witnessed(&ledger), Some((3, all[2].0)));
}
