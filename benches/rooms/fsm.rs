//! Commands of an entry, decoded, named and executed on an empty state: what apply does between opening and the store.

use std::hint::black_box;
use std::sync::Arc;

use bytes::Bytes;
use criterion::Criterion;
use criterion::Throughput;

use sealkv::fsm::codec::Payload;
use sealkv::fsm::codec::encode_batch;
use sealkv::fsm::command::Expiry;
use sealkv::fsm::command::SetIf;
use sealkv::fsm::command::SetReply;
use sealkv::fsm::command::WriteCommand;
use sealkv::fsm::naming::names_of_batch;
use sealkv::fsm::overlay::Overlay;
use sealkv::ids::Index;
use sealkv::testing::base::MemoryBase;
use sealkv::testing::base::NoCipher;
use sealkv::testing::base::reader_of;

/// One entry of `count` plain SETs, which read nothing.
pub fn sets(criterion: &mut Criterion) {
    let reader = reader_of(Arc::new(MemoryBase::default()), Arc::new(NoCipher));
    let key = reader.name_key().expect("names need no cipher");
    let mut group = criterion.benchmark_group("fsm::execute");
    for (count, size) in [(1_usize, 256_usize), (16, 256), (16, 16384)] {
        let set = |number: usize| WriteCommand::Set {
            key: Bytes::from(format!("key:{number:012}")),
            value: Bytes::from(vec![0x61; size]),
            when: SetIf::Always,
            expiry: Expiry::Clear,
            reply: SetReply::default(),
        };
        let writes: Vec<WriteCommand> = (0..count).map(set).collect();
        let mut payload = Vec::new();
        encode_batch(1, &writes, &mut payload).expect("fits one entry");
        group.throughput(Throughput::Elements(count as u64));
        group.bench_function(format!("command=set count={count} size={size}"), |bencher| {
            bencher.iter(|| {
                let Ok(Payload::Batch(batch)) = Payload::decode(black_box(&payload)) else {
                    panic!("encode_batch made it");
                };
                let mut overlay = Overlay::new();
                let names = names_of_batch(&batch, &key);
                let mut context =
                    overlay.begin(&reader, Index(7), 1, Some([0; 16].into()), &batch, &names).expect("no conditions");
                for write in batch.commands() {
                    overlay.execute(&reader, write, &mut context).expect("reads nothing");
                }
                overlay
            });
        });
    }
    group.finish();
}
