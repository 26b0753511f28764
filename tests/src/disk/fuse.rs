//! The model as a mounted file system.

use std::ffi::OsStr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use fuser::{
    BsdFileFlags, Errno as Refusal, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation,
    INodeNo, LockOwner, OpenFlags, RenameFlags, ReplyAttr, ReplyCreate, ReplyData, ReplyDirectory,
    ReplyEmpty, ReplyEntry, ReplyOpen, ReplyStatfs, ReplyWrite, Request, TimeOrNow, WriteFlags,
};
use rustix::fs::FileType as ModeType;
use rustix::io::Errno;

use super::content::SECTOR;
use super::model::{Inode, Kind, Model, NewNode};
use super::{Operation, wall_clock};

/// Only the kernel changes anything, so that it may keep what it knows.
const KNOWN_FOR: Duration = Duration::from_secs(3600);
const NO_HANDLE: FileHandle = FileHandle(0);
const FIRST: Generation = Generation(0);

pub(super) struct Driver(pub(super) Arc<Mutex<Model>>);

impl Driver {
    fn model(&self) -> MutexGuard<'_, Model> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn attributes(&self, inode: Inode) -> Result<FileAttr, Errno> {
        attributes(&self.model(), inode)
    }

    fn create_node(
        &self,
        request: &Request,
        (folder, name): (INodeNo, &OsStr),
        kind: Kind,
        mode: u32,
    ) -> Result<FileAttr, Errno> {
        let owner = (request.uid(), request.gid());
        let new = NewNode { kind, mode: mode & 0o7777, owner, now: wall_clock() };
        let mut model = self.model();
        let inode = model.operate(Operation::Names, |model| model.create(folder.0, name, new))?;
        attributes(&model, inode)
    }

    fn remove(&self, folder: INodeNo, name: &OsStr) -> Result<(), Errno> {
        self.model().operate(Operation::Names, |model| model.remove(folder.0, name))
    }
}

fn attributes(model: &Model, inode: Inode) -> Result<FileAttr, Errno> {
    model.powered()?;
    let node = model.node(inode)?;
    let (kind, size) = match &node.kind {
        Kind::File(content) => (FileType::RegularFile, content.len() as u64),
        Kind::Folder { .. } => (FileType::Directory, 0),
        Kind::Socket => (FileType::Socket, 0),
    };
    Ok(FileAttr {
        ino: INodeNo(inode),
        size,
        blocks: size.div_ceil(SECTOR as u64),
        atime: node.modified,
        mtime: node.modified,
        ctime: node.modified,
        crtime: node.modified,
        kind,
        perm: node.mode as u16,
        nlink: node.links,
        uid: node.owner.0,
        gid: node.owner.1,
        rdev: 0,
        blksize: 4096,
        flags: 0,
    })
}

fn refusal(errno: Errno) -> Refusal {
    Refusal::from_i32(errno.raw_os_error())
}

fn answer(reply: ReplyEmpty, result: Result<(), Errno>) {
    match result {
        Ok(()) => reply.ok(),
        Err(errno) => reply.error(refusal(errno)),
    }
}

fn answer_entry(reply: ReplyEntry, result: Result<FileAttr, Errno>) {
    match result {
        Ok(attributes) => reply.entry(&KNOWN_FOR, &attributes, FIRST),
        Err(errno) => reply.error(refusal(errno)),
    }
}

fn answer_open(reply: ReplyOpen, result: Result<(), Errno>) {
    match result {
        Ok(()) => reply.opened(NO_HANDLE, FopenFlags::empty()),
        Err(errno) => reply.error(refusal(errno)),
    }
}

impl Filesystem for Driver {
    fn lookup(&self, _request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let model = self.model();
        let found = model.powered().and_then(|()| model.find(parent.0, name));
        answer_entry(reply, found.and_then(|inode| attributes(&model, inode)));
    }

    fn getattr(&self, _request: &Request, ino: INodeNo, _fh: Option<FileHandle>, reply: ReplyAttr) {
        match self.attributes(ino.0) {
            Ok(attributes) => reply.attr(&KNOWN_FOR, &attributes),
            Err(errno) => reply.error(refusal(errno)),
        }
    }

    fn setattr(
        &self,
        _request: &Request,
        ino: INodeNo,
        mode: Option<u32>,
        uid: Option<u32>,
        gid: Option<u32>,
        size: Option<u64>,
        _atime: Option<TimeOrNow>,
        mtime: Option<TimeOrNow>,
        _ctime: Option<SystemTime>,
        _fh: Option<FileHandle>,
        _crtime: Option<SystemTime>,
        _chgtime: Option<SystemTime>,
        _bkuptime: Option<SystemTime>,
        _flags: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let mut model = self.model();
        let mut set = || {
            if let Some(size) = size {
                model.operate(Operation::Write, |model| {
                    model.content(ino.0)?.set_len(size as usize);
                    Ok(())
                })?;
            }
            let node = model.node_mut(ino.0)?;
            node.mode = mode.map_or(node.mode, |mode| mode & 0o7777);
            node.owner = (uid.unwrap_or(node.owner.0), gid.unwrap_or(node.owner.1));
            match mtime {
                Some(TimeOrNow::SpecificTime(at)) => node.modified = at,
                Some(TimeOrNow::Now) => node.modified = wall_clock(),
                None => {}
            }
            attributes(&model, ino.0)
        };
        match set() {
            Ok(attributes) => reply.attr(&KNOWN_FOR, &attributes),
            Err(errno) => reply.error(refusal(errno)),
        }
    }

    fn mknod(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        _umask: u32,
        _rdev: u32,
        reply: ReplyEntry,
    ) {
        let kind = match ModeType::from_raw_mode(mode) {
            ModeType::RegularFile => Kind::File(Default::default()),
            ModeType::Socket => Kind::Socket,
            _ => return reply.error(refusal(Errno::OPNOTSUPP)),
        };
        answer_entry(reply, self.create_node(request, (parent, name), kind, mode));
    }

    fn mkdir(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        _umask: u32,
        reply: ReplyEntry,
    ) {
        answer_entry(reply, self.create_node(request, (parent, name), Kind::folder(), mode));
    }

    fn unlink(&self, _request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        answer(reply, self.remove(parent, name));
    }

    fn rmdir(&self, _request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        answer(reply, self.remove(parent, name));
    }

    fn rename(
        &self,
        _request: &Request,
        parent: INodeNo,
        name: &OsStr,
        newparent: INodeNo,
        newname: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        let may_replace = match flags {
            flags if flags.is_empty() => true,
            RenameFlags::RENAME_NOREPLACE => false,
            _ => return reply.error(refusal(Errno::INVAL)),
        };
        let (from, to) = ((parent.0, name), (newparent.0, newname));
        answer(reply, self.model().operate(Operation::Names, |model| model.rename(from, to, may_replace)));
    }

    fn link(&self, _request: &Request, ino: INodeNo, newparent: INodeNo, newname: &OsStr, reply: ReplyEntry) {
        let mut model = self.model();
        let linked = model.operate(Operation::Names, |model| model.link(ino.0, newparent.0, newname));
        answer_entry(reply, linked.and_then(|()| attributes(&model, ino.0)));
    }

    fn open(&self, _request: &Request, ino: INodeNo, _flags: OpenFlags, reply: ReplyOpen) {
        let mut model = self.model();
        answer_open(reply, model.powered().and_then(|()| model.opened(ino.0)));
    }

    fn create(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        _umask: u32,
        _flags: i32,
        reply: ReplyCreate,
    ) {
        let kind = Kind::File(Default::default());
        let created = self.create_node(request, (parent, name), kind, mode).and_then(|attributes| {
            self.model().opened(attributes.ino.0)?;
            Ok(attributes)
        });
        match created {
            Ok(attributes) => {
                reply.created(&KNOWN_FOR, &attributes, FIRST, NO_HANDLE, FopenFlags::empty());
            }
            Err(errno) => reply.error(refusal(errno)),
        }
    }

    fn read(
        &self,
        _request: &Request,
        ino: INodeNo,
        _fh: FileHandle,
        offset: u64,
        size: u32,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let mut model = self.model();
        match model.powered().and_then(|()| model.content(ino.0)) {
            Ok(content) => reply.data(content.read(offset as usize, size as usize)),
            Err(errno) => reply.error(refusal(errno)),
        }
    }

    fn write(
        &self,
        _request: &Request,
        ino: INodeNo,
        _fh: FileHandle,
        offset: u64,
        data: &[u8],
        _write_flags: WriteFlags,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let written = self.model().operate(Operation::Write, |model| {
            model.content(ino.0)?.write(offset as usize, data);
            model.node_mut(ino.0)?.modified = wall_clock();
            Ok(())
        });
        match written {
            Ok(()) => reply.written(data.len() as u32),
            Err(errno) => reply.error(refusal(errno)),
        }
    }

    /// Room is not a content: nothing that a loss of power could undo.
    fn fallocate(
        &self,
        _request: &Request,
        ino: INodeNo,
        _fh: FileHandle,
        offset: u64,
        length: u64,
        mode: i32,
        reply: ReplyEmpty,
    ) {
        const KEEP_SIZE: i32 = 1;
        let mut model = self.model();
        answer(
            reply,
            match mode {
                KEEP_SIZE => model.powered(),
                0 => model.operate(Operation::Write, |model| {
                    let content = model.content(ino.0)?;
                    content.set_len(content.len().max((offset + length) as usize));
                    Ok(())
                }),
                _ => Err(Errno::OPNOTSUPP),
            },
        );
    }

    fn release(
        &self,
        _request: &Request,
        ino: INodeNo,
        _fh: FileHandle,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        _flush: bool,
        reply: ReplyEmpty,
    ) {
        self.model().released(ino.0);
        reply.ok();
    }

    fn fsync(&self, _request: &Request, ino: INodeNo, _fh: FileHandle, _datasync: bool, reply: ReplyEmpty) {
        answer(reply, self.model().sync_file(ino.0));
    }

    fn fsyncdir(
        &self,
        _request: &Request,
        ino: INodeNo,
        _fh: FileHandle,
        _datasync: bool,
        reply: ReplyEmpty,
    ) {
        answer(reply, self.model().operate(Operation::SyncFolder, |model| model.sync_folder(ino.0)));
    }

    fn readdir(
        &self,
        _request: &Request,
        ino: INodeNo,
        _fh: FileHandle,
        offset: u64,
        mut reply: ReplyDirectory,
    ) {
        let model = self.model();
        let entries = match model.powered().and_then(|()| model.entries(ino.0)) {
            Ok(entries) => entries,
            Err(errno) => return reply.error(refusal(errno)),
        };
        let special = [".", ".."].map(|name| (OsStr::new(name), ino.0));
        let all = special.into_iter().chain(entries.iter().map(|(name, inode)| (name.as_os_str(), *inode)));
        for (index, (name, inode)) in (1..).zip(all).skip(offset as usize) {
            let kind = attributes(&model, inode).map_or(FileType::RegularFile, |attributes| attributes.kind);
            if reply.add(INodeNo(inode), index, kind, name) {
                break;
            }
        }
        reply.ok();
    }

    fn statfs(&self, _request: &Request, _ino: INodeNo, reply: ReplyStatfs) {
        const BLOCKS: u64 = 1 << 22;
        reply.statfs(BLOCKS, BLOCKS, BLOCKS, BLOCKS, BLOCKS, 4096, 255, 4096);
    }
}
