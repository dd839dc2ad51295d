//! Components that are recovered at once.

use std::os::unix::fs::PermissionsExt;

use libtest_mimic::Failed;

use super::{SEED, drill_of};

/// Each of two recovered servers is asked a question that it answers only while the other is being asked its own: were one
/// recovered after the other, the first would wait in vain.
pub fn two_components_are_recovered_at_the_same_time() -> Result<(), Failed> {
    let dir = tempfile::Builder::new().prefix("rdmeet").tempdir()?;
    std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o777))?;
    let seed = format!(
        "{SEED}
create function public.meet(mine text, other text) returns bigint language plpgsql as $$
declare
  until timestamptz := clock_timestamp() + interval '60 s';
begin
  execute format('copy (select 1) to %L', '{place}/' || mine);
  while clock_timestamp() < until loop
    if (pg_stat_file('{place}/' || other, true)).size is not null then
      return (select count(*) from public.numbers);
    end if;
    perform pg_sleep(0.05);
  end loop;
  return 0;
end $$;",
        place = dir.path().display()
    );
    let component = |name: &str, other: &str| {
        format!(
            "[component.{name}]\nkind = \"postgres\"\nseed = \"seed.sql\"\n\
             [[component.{name}.smoke]]\nask = \"select public.meet('{name}', '{other}')\"\nexpect = \"5000\"\n\
             [backup.{name}]\ncomponent = \"{name}\"\nschedule = \"0 * * * *\"\n"
        )
    };
    let suite = format!(
        "{}{}[scenario.s]\nat = \"20m after one\"\nrecover = [\"one\", \"two\"]\n\
         strike = [{{ component = \"one\", fault = \"server-lost\" }}, {{ component = \"two\", fault = \"server-lost\" }}]\n",
        component("one", "two"),
        component("two", "one")
    );
    // Nobody has met before they are recovered.
    let (code, drilled) = drill_of(&suite, &seed)?;
    assert_eq!(code, Some(0), "{drilled:#}");
    assert!(dir.path().join("one").exists() && dir.path().join("two").exists());
    Ok(())
}
