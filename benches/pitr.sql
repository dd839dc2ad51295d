-- Orders of a shop, in bulk: one wide table and one narrow one, with the keys and indexes that such tables have.
--
-- psql variables: `scale` multiplies the rows (1 gives about 10 MB with indexes, 100 a gigabyte), `seed` changes the
-- values. The same two give the same rows.

\set ON_ERROR_STOP on
\if :{?scale}
\else
    \set scale 1
\endif
\if :{?seed}
\else
    \set seed 1
\endif

begin;

create table public.customers (
    id bigint not null,
    name text not null,
    since date not null
);

create table public.orders (
    id bigint not null,
    customer_id bigint not null,
    placed_at timestamptz not null,
    amount numeric(10, 2) not null,
    note text not null
);

insert into public.customers
select n, 'Customer ' || md5(:seed || '/' || n), date '2015-01-01' + (n % 3650)::integer
from generate_series(1, greatest(1, (5000 * :scale)::integer)) as n;

insert into public.orders
select
    n,
    1 + n::bigint * 7919 % greatest(1, (5000 * :scale)::integer),
    timestamptz '2020-01-01 00:00:00+00' + n * interval '11 seconds',
    n % 100000 / 100.0,
    repeat(md5(:seed || '/note/' || n), 4)
from generate_series(1, greatest(1, (37000 * :scale)::integer)) as n;

alter table public.customers add primary key (id);
alter table public.orders add primary key (id);
create index orders_by_customer on public.orders (customer_id);
create index orders_by_time on public.orders using brin (placed_at);
alter table public.orders add foreign key (customer_id) references public.customers (id);

commit;

-- As after any bulk load: what reads it first need not write to every page.
vacuum (analyze);
