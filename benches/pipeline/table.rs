//! What was measured, as ratios within each round and as medians over the rounds.

/// One way in one round.
#[derive(Clone, Copy)]
pub struct Measured {
    /// Requests or groups.
    pub per_second: f64,
    /// CPU of the proxy for each, in microseconds.
    pub proxy_us: f64,
    /// CPU of Redis for each, in microseconds.
    pub redis_us: f64,
    pub p50_us: f64,
    pub p99_us: f64,
}

/// All rounds of one scenario; the first way is what the others are compared with.
pub struct Table<'a> {
    what: &'a str,
    ways: Vec<String>,
    rounds: Vec<Vec<Measured>>,
}

pub fn print_head() {
    println!(
        "{:<18}{:<30}{:>12}{:>9}{:>15}{:>10}{:>10}{:>9}{:>9}",
        "", "medians of the rounds", "per second", "ratio", "from .. to", "proxy us", "Redis us", "p50 us", "p99 us"
    );
}

impl<'a> Table<'a> {
    pub fn new(what: &'a str, ways: Vec<String>) -> Table<'a> {
        let rounds = ways.iter().map(|_| Vec::new()).collect();
        Table { what, ways, rounds }
    }

    /// Adds what the way at this place did in its next round.
    pub fn enter(&mut self, way: usize, measured: Measured) {
        self.rounds[way].push(measured);
    }

    pub fn print(&self) {
        for (name, rounds) in self.ways.iter().zip(&self.rounds) {
            let median_of = |value: fn(&Measured) -> f64| median(rounds.iter().map(value).collect());
            let beside_first = rounds.iter().zip(&self.rounds[0]).map(|(own, first)| own.per_second / first.per_second);
            let ratios: Vec<f64> = beside_first.collect();
            let (least, most) = ratios.iter().fold((f64::MAX, f64::MIN), |(least, most), &at| (least.min(at), most.max(at)));
            println!(
                "{:<18}{name:<30}{:>12.0}{:>9.2}{:>15}{:>10.2}{:>10.2}{:>9.0}{:>9.0}",
                self.what,
                median_of(|at| at.per_second),
                median(ratios),
                format!("{least:.2} .. {most:.2}"),
                median_of(|at| at.proxy_us),
                median_of(|at| at.redis_us),
                median_of(|at| at.p50_us),
                median_of(|at| at.p99_us),
            );
        }
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
