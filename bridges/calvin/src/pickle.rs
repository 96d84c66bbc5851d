//! Python's pickle read as data: no name is looked up, nothing is called.
//!
//! Protocols 2 to 4, as far as numpy writes them. A call (`REDUCE`) stays a node with its arguments, so that numpy's scalars and
//! arrays can be read by who knows them: the frame numbers of CALVIN's annotations are `numpy.core.multiarray.scalar(...)`.
//! Values lie in one table and refer to each other by number: memory is linear in the file however often a value is shared, and
//! deep nesting costs no stack. The crates for pickles copy a shared value at each reference and recurse into it, so that a
//! hundred bytes of a file from elsewhere exhaust the memory or the stack.

/// A value's place in the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Id(usize);

/// A Python value.
#[derive(Debug, PartialEq)]
pub(crate) enum Node<'a> {
    None,
    Bool(bool),
    Int(i64),
    Float,
    Text(&'a str),
    Bytes(&'a [u8]),
    List(Vec<Id>),
    Tuple(Vec<Id>),
    Dict(Vec<(Id, Id)>),
    /// A class or function, by module and name.
    Global(&'a str, &'a str),
    /// What `callable(*args)` would give, and the state set on it.
    Object {
        callable: Id,
        args: Id,
        state: Option<Id>,
    },
}

/// A read pickle.
#[derive(Debug)]
pub(crate) struct Pickle<'a> {
    nodes: Vec<Node<'a>>,
    root: Id,
}

impl<'a> Pickle<'a> {
    /// Reads to the end of the pickle; the error is a sentence.
    pub(crate) fn parse(bytes: &'a [u8]) -> Result<Self, String> {
        let mut machine = Machine { bytes, at: 0, nodes: Vec::new(), stack: Vec::new(), marks: Vec::new(), memo: Vec::new() };
        loop {
            let at = machine.at;
            match machine.step() {
                Ok(None) => {}
                Ok(Some(root)) => return Ok(Self { nodes: machine.nodes, root }),
                Err(reason) => return Err(format!("byte {at} of the pickle: {reason}")),
            }
        }
    }

    pub(crate) fn root(&self) -> Id {
        self.root
    }

    pub(crate) fn node(&self, id: Id) -> &Node<'a> {
        &self.nodes[id.0]
    }

    /// The value under a text key of a dict.
    pub(crate) fn get(&self, dict: Id, key: &str) -> Option<Id> {
        let Node::Dict(entries) = self.node(dict) else { return None };
        // A later entry replaces an earlier one, as in Python.
        entries.iter().rev().find(|(name, _)| *self.node(*name) == Node::Text(key)).map(|(_, value)| *value)
    }

    /// Elements of a list or tuple.
    pub(crate) fn elements(&self, id: Id) -> Option<&[Id]> {
        match self.node(id) {
            Node::List(elements) | Node::Tuple(elements) => Some(elements),
            _ => None,
        }
    }
}

struct Machine<'a> {
    bytes: &'a [u8],
    at: usize,
    nodes: Vec<Node<'a>>,
    stack: Vec<Id>,
    /// Heights of the stack at open marks.
    marks: Vec<usize>,
    memo: Vec<Option<Id>>,
}

type Step<T> = Result<T, String>;

impl<'a> Machine<'a> {
    /// Executes one opcode; the root, when the pickle is complete. Each opcode makes at most one node.
    fn step(&mut self) -> Step<Option<Id>> {
        match self.u8()? {
            // PROTO, FRAME: what they announce is seen from the opcodes.
            0x80 => drop(self.take(1)?),
            0x95 => drop(self.take(8)?),
            b'.' => return self.pop().map(Some),
            b'(' => self.marks.push(self.stack.len()),
            b'0' => drop(self.pop()?),
            b'1' => drop(self.pop_mark()?),
            b'N' => self.push(Node::None),
            0x88 => self.push(Node::Bool(true)),
            0x89 => self.push(Node::Bool(false)),
            b'J' => {
                let value = i32::from_le_bytes(self.array()?);
                self.push(Node::Int(value.into()));
            }
            b'K' => {
                let value = self.u8()?;
                self.push(Node::Int(value.into()));
            }
            b'M' => {
                let value = u16::from_le_bytes(self.array()?);
                self.push(Node::Int(value.into()));
            }
            0x8a => self.long()?,
            b'G' => {
                self.take(8)?;
                self.push(Node::Float);
            }
            0x8c => self.text(1)?,
            b'X' => self.text(4)?,
            0x8d => self.text(8)?,
            b'C' => self.blob(1)?,
            b'B' => self.blob(4)?,
            0x8e => self.blob(8)?,
            b']' => self.push(Node::List(Vec::new())),
            b'}' => self.push(Node::Dict(Vec::new())),
            b')' => self.push(Node::Tuple(Vec::new())),
            0x85 => self.tuple(1)?,
            0x86 => self.tuple(2)?,
            0x87 => self.tuple(3)?,
            b't' => {
                let elements = self.pop_mark()?;
                self.push(Node::Tuple(elements));
            }
            b'a' => {
                let element = self.pop()?;
                self.list()?.push(element);
            }
            b'e' => {
                let elements = self.pop_mark()?;
                self.list()?.extend(elements);
            }
            b's' => {
                let value = self.pop()?;
                let key = self.pop()?;
                self.dict()?.push((key, value));
            }
            b'u' => {
                let entries = self.pop_mark()?;
                let (pairs, odd) = entries.as_chunks::<2>();
                if !odd.is_empty() {
                    return Err("a key without a value".to_owned());
                }
                self.dict()?.extend(pairs.iter().map(|&[key, value]| (key, value)));
            }
            b'c' => {
                let module = self.line()?;
                let name = self.line()?;
                self.push(Node::Global(module, name));
            }
            0x93 => {
                let (name, module) = (self.pop()?, self.pop()?);
                match (&self.nodes[module.0], &self.nodes[name.0]) {
                    (&Node::Text(module), &Node::Text(name)) => self.push(Node::Global(module, name)),
                    _ => return Err("a class whose name is no text".to_owned()),
                }
            }
            b'R' => {
                let (args, callable) = (self.pop()?, self.pop()?);
                self.push(Node::Object { callable, args, state: None });
            }
            b'b' => {
                let set = self.pop()?;
                match self.top()? {
                    Node::Object { state, .. } => *state = Some(set),
                    _ => return Err("a state set on what has none".to_owned()),
                }
            }
            b'q' => {
                let slot = self.u8()?.into();
                self.memoize(slot)?;
            }
            b'r' => {
                let slot = u32::from_le_bytes(self.array()?) as usize;
                self.memoize(slot)?;
            }
            0x94 => self.memoize(self.memo.len())?,
            b'h' => {
                let slot = self.u8()?.into();
                self.recall(slot)?;
            }
            b'j' => {
                let slot = u32::from_le_bytes(self.array()?) as usize;
                self.recall(slot)?;
            }
            other => return Err(format!("opcode {other:#04x} is not one that numpy writes")),
        }
        Ok(None)
    }

    fn take(&mut self, count: usize) -> Step<&'a [u8]> {
        let rest = &self.bytes[self.at..];
        let taken = rest.get(..count).ok_or_else(|| format!("{count} bytes wanted, {} left: the file is cut off", rest.len()))?;
        self.at += count;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Step<[u8; N]> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    fn u8(&mut self) -> Step<u8> {
        self.array().map(|[byte]| byte)
    }

    /// Bytes behind a length of `width` bytes.
    fn prefixed(&mut self, width: usize) -> Step<&'a [u8]> {
        let mut length = [0; 8];
        length[..width].copy_from_slice(self.take(width)?);
        let length = usize::try_from(u64::from_le_bytes(length)).map_err(|_| "a length beyond memory")?;
        self.take(length)
    }

    fn text(&mut self, width: usize) -> Step<()> {
        let text = str::from_utf8(self.prefixed(width)?).map_err(|_| "a text that is not UTF-8")?;
        self.push(Node::Text(text));
        Ok(())
    }

    fn blob(&mut self, width: usize) -> Step<()> {
        let bytes = self.prefixed(width)?;
        self.push(Node::Bytes(bytes));
        Ok(())
    }

    fn long(&mut self) -> Step<()> {
        let bytes = self.prefixed(1)?;
        let value = signed(bytes).ok_or("a whole number beyond 64 bits")?;
        self.push(Node::Int(value));
        Ok(())
    }

    fn line(&mut self) -> Step<&'a str> {
        let rest = &self.bytes[self.at..];
        let end = rest.iter().position(|&byte| byte == b'\n').ok_or("a name without an end: the file is cut off")?;
        self.at += end + 1;
        str::from_utf8(&rest[..end]).map_err(|_| "a name that is not UTF-8".to_owned())
    }

    fn push(&mut self, node: Node<'a>) {
        self.stack.push(Id(self.nodes.len()));
        self.nodes.push(node);
    }

    fn pop(&mut self) -> Step<Id> {
        if self.marks.last().is_some_and(|&height| height >= self.stack.len()) {
            return Err("a value is missing".to_owned());
        }
        self.stack.pop().ok_or_else(|| "a value is missing".to_owned())
    }

    fn pop_mark(&mut self) -> Step<Vec<Id>> {
        let height = self.marks.pop().ok_or("a mark is missing")?;
        Ok(self.stack.split_off(height))
    }

    fn tuple(&mut self, count: usize) -> Step<()> {
        let mut elements = (0..count).map(|_| self.pop()).collect::<Step<Vec<_>>>()?;
        elements.reverse();
        self.push(Node::Tuple(elements));
        Ok(())
    }

    fn top(&mut self) -> Step<&mut Node<'a>> {
        let top = self.stack.last().ok_or("a value is missing")?;
        Ok(&mut self.nodes[top.0])
    }

    fn list(&mut self) -> Step<&mut Vec<Id>> {
        match self.top()? {
            Node::List(elements) => Ok(elements),
            _ => Err("elements for what is no list".to_owned()),
        }
    }

    fn dict(&mut self) -> Step<&mut Vec<(Id, Id)>> {
        match self.top()? {
            Node::Dict(entries) => Ok(entries),
            _ => Err("entries for what is no dict".to_owned()),
        }
    }

    fn memoize(&mut self, slot: usize) -> Step<()> {
        let top = *self.stack.last().ok_or("a value is missing")?;
        // Python numbers its slots one by one; a jump ahead would only make the table large.
        if slot > self.nodes.len() {
            return Err(format!("memo slot {slot} is out of order"));
        }
        if slot >= self.memo.len() {
            self.memo.resize(slot + 1, None);
        }
        self.memo[slot] = Some(top);
        Ok(())
    }

    fn recall(&mut self, slot: usize) -> Step<()> {
        let id = self.memo.get(slot).copied().flatten().ok_or_else(|| format!("memo slot {slot} is empty"))?;
        self.stack.push(id);
        Ok(())
    }
}

/// A little-endian two's complement number of up to eight bytes.
pub(crate) fn signed(bytes: &[u8]) -> Option<i64> {
    let negative = bytes.last().is_some_and(|byte| byte & 0x80 != 0);
    let mut word = [if negative { 0xff } else { 0 }; 8];
    word.get_mut(..bytes.len())?.copy_from_slice(bytes);
    Some(i64::from_le_bytes(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shared_values_cost_no_memory_and_nesting_no_stack() {
        // A list, then a million times the tuple of the last value with itself: 2^1000000 leaves for who copies them.
        let mut bytes = b"\x80\x04]\x94".to_vec();
        for slot in 0..1_000_000_u32 {
            bytes.push(b'j');
            bytes.extend(slot.to_le_bytes());
            bytes.extend(b"\x86\x94");
        }
        bytes.push(b'.');
        let pickle = Pickle::parse(&bytes).unwrap();
        assert_eq!(pickle.nodes.len(), 1_000_001);
        assert_eq!(pickle.elements(pickle.root()).unwrap()[0], pickle.elements(pickle.root()).unwrap()[1]);
    }

    #[test]
    fn a_call_stays_a_node() {
        // pickle.dumps of an object whose __reduce__ gives (os.system, ("x",)).
        let pickle = Pickle::parse(b"cposix\nsystem\nX\x01\x00\x00\x00x\x85R.").unwrap();
        let Node::Object { callable, args, state: None } = *pickle.node(pickle.root()) else { panic!("no call") };
        assert_eq!(*pickle.node(callable), Node::Global("posix", "system"));
        assert_eq!(*pickle.node(pickle.elements(args).unwrap()[0]), Node::Text("x"));
    }

    #[test]
    fn whole_numbers_keep_their_sign() {
        assert_eq!(signed(&[]), Some(0));
        assert_eq!(signed(&[0xff, 0x00]), Some(255));
        assert_eq!(signed(&[0x00, 0xff]), Some(-256));
        assert_eq!(signed(&i64::MIN.to_le_bytes()), Some(i64::MIN));
        assert_eq!(signed(&[0; 9]), None);
    }
}
