use std::fmt;

use crate::Link;

/// A set of links, such as what a block touches: one bit a link.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct LinkSet(u16);

impl LinkSet {
    /// No link.
    pub const EMPTY: Self = Self(0);

    const LINKS: [Link; 11] = [
        Link::Robot,
        Link::Table,
        Link::Plank,
        Link::Drawer,
        Link::Door,
        Link::Switch,
        Link::Button,
        Link::Floor,
        Link::Block(0),
        Link::Block(1),
        Link::Block(2),
    ];
    /// In CALVIN the table and its mechanisms are links of one body.
    const TABLE_BODY: Self = Self::of(&[Link::Table, Link::Plank, Link::Drawer, Link::Door, Link::Switch, Link::Button]);
    pub(crate) const BLOCKS: Self = Self::of(&[Link::Block(0), Link::Block(1), Link::Block(2)]);
    pub(crate) const ROBOT: Self = Self::of(&[Link::Robot]);

    /// The set of `links`.
    pub const fn of(links: &[Link]) -> Self {
        let mut bits = 0;
        let mut index = 0;
        while index < links.len() {
            bits |= Self::bit(links[index]);
            index += 1;
        }
        Self(bits)
    }

    /// A block index above 2 names no block, and no bit.
    const fn bit(link: Link) -> u16 {
        match link {
            Link::Robot => 1,
            Link::Table => 1 << 1,
            Link::Plank => 1 << 2,
            Link::Drawer => 1 << 3,
            Link::Door => 1 << 4,
            Link::Switch => 1 << 5,
            Link::Button => 1 << 6,
            Link::Block(index @ 0..=2) => 1 << (7 + index),
            Link::Floor => 1 << 10,
            Link::Block(_) => 0,
        }
    }

    /// Adds `link`. A block index above 2 names no block and is left out.
    pub const fn insert(&mut self, link: Link) {
        self.0 |= Self::bit(link);
    }

    /// Whether `link` is in the set.
    pub const fn contains(self, link: Link) -> bool {
        self.0 & Self::bit(link) != 0
    }

    /// Whether every link of this set is in `other`.
    pub const fn is_subset(self, other: Self) -> bool {
        self.0 & !other.0 == 0
    }

    /// Whether the set has no link.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Number of links.
    pub const fn len(self) -> usize {
        self.0.count_ones() as usize
    }

    /// The set less the links of `other`.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// The links that are in both sets.
    #[must_use]
    pub const fn intersection(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// The bodies that the links belong to: robot, table (for itself and for every mechanism of it), and blocks.
    #[must_use]
    pub const fn bodies(self) -> Self {
        if self.intersection(Self::TABLE_BODY).is_empty() {
            return self;
        }
        Self(self.without(Self::TABLE_BODY).0 | Self::bit(Link::Table))
    }

    /// The links, robot first, then table and mechanisms, then blocks.
    pub fn iter(self) -> impl Iterator<Item = Link> {
        Self::LINKS.into_iter().filter(move |&link| self.contains(link))
    }
}

impl FromIterator<Link> for LinkSet {
    fn from_iter<T: IntoIterator<Item = Link>>(links: T) -> Self {
        links.into_iter().fold(Self::EMPTY, |mut set, link| {
            set.insert(link);
            set
        })
    }
}

impl fmt::Debug for LinkSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::LinkSet;

    /// All 1024 sets, against the standard library's.
    #[test]
    fn behaves_as_a_hash_set() {
        let all: Vec<(LinkSet, HashSet<_>)> = (0..1_u32 << 10)
            .map(|bits| {
                let links =
                    || LinkSet::LINKS.into_iter().enumerate().filter(move |(i, _)| bits >> i & 1 == 1).map(|(_, link)| link);
                (links().collect(), links().collect())
            })
            .collect();
        for (index, (set, reference)) in all.iter().enumerate() {
            assert_eq!(set.iter().collect::<HashSet<_>>(), *reference);
            assert_eq!((set.len(), set.is_empty()), (reference.len(), reference.is_empty()));
            let (other, other_reference) = &all[(index * 389 + 7) % all.len()];
            assert_eq!(set.is_subset(*other), reference.is_subset(other_reference));
            assert_eq!(set.without(*other).iter().collect::<HashSet<_>>(), reference - other_reference);
            assert_eq!(set.intersection(*other).iter().collect::<HashSet<_>>(), reference & other_reference);
        }
    }
}
